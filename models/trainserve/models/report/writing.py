"""The report of a finished run."""

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
    """An exported graph."""

    @property
    def bytes(self) -> int:
        """Size of the graph and its weights."""
        ...

    def batch(self, size: int) -> Callable[[], object]:
        """A function that runs the graph in onnxruntime on a batch of `size` samples."""
        ...


def content(
    namespace: str, model: str, draft: store.ManifestDraft, made: Made, held: Sequence[Held], known: Known
) -> bytes:
    """The content of report.html; times the graph for a moment."""
    timings = timed(made)
    return page.page(Facts(namespace, model, draft, known, environment(), held, timings, made.bytes))


def timed(made: Made) -> Sequence[Timing] | str:
    """Timings of the graph, or the reason, as text, why there are none."""
    try:
        return latency.measure(made.batch)
    except Exception as error:  # onnxruntime has no common base class
        return f"{type(error).__name__}: {error}"
