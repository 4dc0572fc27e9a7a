"""What a report is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from trainserve import store
from trainserve.models.evaluate import Answers
from trainserve.models.gates import Held
from trainserve.models.report.latency import Timing


@dataclass(frozen=True)
class Tested:
    """The test split and what was answered to it; `by` says by whom."""

    samples: NDArray[Any]
    targets: NDArray[Any]
    answers: Answers
    by: str


@dataclass(frozen=True)
class Known:
    """What a run knows beside the manifest: of its data by name, of its test split, and what it cannot tell, and why, a
    sentence each."""

    data: Mapping[str, str]
    tested: Tested | None
    missing: Sequence[str] = ()


@dataclass(frozen=True)
class Facts:
    """All that the page says. `draft` is the manifest's, which has the curves, the scores and the configuration.

    `timings` is a text where the graph could not be timed.
    """

    namespace: str
    model: str
    draft: store.ManifestDraft
    known: Known
    environment: Mapping[str, str]
    gates: Sequence[Held] = ()
    timings: Sequence[Timing] | str = ()
    bytes: int = 0
    """Of the graph and its weights."""
