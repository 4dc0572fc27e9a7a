"""From what a run has at its end to the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from trainserve import store
from trainserve.models.gates import Held
from trainserve.models.report import latency, page
from trainserve.models.report.environment import environment
from trainserve.models.report.facts import Facts, Known
from trainserve.models.report.latency import Timing


class Made(Protocol):
    """The exported graph."""

    @property
    def bytes(self) -> int:
        """Of the graph and its weights."""
        ...

    def batch(self, size: int) -> Callable[[], object]:
        """What runs it once on `size` samples, through onnxruntime."""
        ...


def content(
    namespace: str, model: str, draft: store.ManifestDraft, made: Made, held: Sequence[Held], known: Known
) -> bytes:
    """The file. The graph is timed for a moment."""
    timings = timed(made)
    return page.page(Facts(namespace, model, draft, known, environment(), held, timings, made.bytes))


def timed(made: Made) -> Sequence[Timing] | str:
    """Or why there is nothing to tell: a report does without it."""
    try:
        return latency.measure(made.batch)
    except Exception as error:  # onnxruntime has no errors of its own
        return f"{type(error).__name__}: {error}"
