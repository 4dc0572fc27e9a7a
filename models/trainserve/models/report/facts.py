"""The input of a report."""

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
    """The test split and the predictions for it; `by`: who made them, for people."""

    samples: NDArray[Any]
    targets: NDArray[Any]
    answers: Answers
    by: str


@dataclass(frozen=True)
class Known:
    """What a run knows beyond the manifest: facts on its data by name, its test split, and sentences on what is missing
    and why."""

    data: Mapping[str, str]
    tested: Tested | None
    missing: Sequence[str] = ()


@dataclass(frozen=True)
class Facts:
    """The content of the page. `draft`: of the manifest, with curves, scores and configuration.

    `timings`: the reason, as text, if the graph could not be timed.
    """

    namespace: str
    model: str
    draft: store.ManifestDraft
    known: Known
    environment: Mapping[str, str]
    gates: Sequence[Held] = ()
    timings: Sequence[Timing] | str = ()
    bytes: int = 0
    """Size of the graph and its weights."""
