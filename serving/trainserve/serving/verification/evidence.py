"""The evidence that the rules of faults.py look at: a model's samples, the server's answers, and its own graph's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from trainserve.serving.protocol.infer import Arrays
from trainserve.serving.samples.recorded import Recorded
from trainserve.serving.sources.servable import Servable
from trainserve.serving.verification.description import Described
from trainserve.serving.verification.reference import NoReference, Reference
from trainserve.serving.verification.report import Labels, Run

SAMPLES = 16
"""Maximum number of samples that an edited graph is run on."""


@dataclass(frozen=True)
class Known:
    """Another version of the same model: its name, its digest and its recorded samples."""

    name: str
    digest: str
    recorded: Recorded


@dataclass(frozen=True)
class Evidence:
    """The evidence of one verification.

    `served` are the answers to every sample, sent alone, in the samples' order. `others` are known versions; `answer`
    sends a known version's samples to the server; `again` sends the model's own samples alone once more.
    """

    servable: Servable
    recorded: Recorded
    described: Described
    runs: Sequence[Run]
    labels: Labels | None
    served: Arrays
    others: Iterable[Known]
    answer: Callable[[Recorded], Arrays]
    again: Callable[[], Arrays]

    @property
    def right_alone(self) -> bool:
        """Whether the answers to single requests match the recorded outputs."""
        return self._compared(self.served)

    @cached_property
    def reference(self) -> Reference:
        """The version's own graph, to be run here."""
        return Reference(self.servable.folder / self.servable.graph, self.recorded)

    @cached_property
    def scores(self) -> str:
        """The output to compare: the first of floating-point numbers that are not indices. Raises NoReference."""
        for name, array in self.recorded.outputs.items():
            if name not in self.recorded.indexes and array.dtype.kind == "f" and not self.recorded.whole:
                return name
        raise NoReference("no output of it has rows of numbers, one for each sample")

    @cached_property
    def own(self) -> Arrays:
        """The answers of the version's own graph, run here. Raises NoReference."""
        return self.reference.answers(self.recorded.inputs)

    @cached_property
    def own_alone(self) -> Arrays:
        """Its answers to each request alone. Raises NoReference."""
        return self.reference.answers(self.recorded.inputs, alone=True)

    def own_is_right(self) -> bool:
        """Whether the answers of the version's own graph match the recorded outputs."""
        return self._compared(self.own)

    def alike(self, one: Arrays, other: Arrays) -> bool:
        """Whether two sets of answers to the samples are equal within the tolerance."""
        return replace(self.recorded, outputs=one).compare(other).matches

    def few(self, arrays: Arrays) -> Arrays:
        """Return the rows of the samples that edited graphs are run on."""
        return {name: array[:SAMPLES] for name, array in arrays.items()}

    def _compared(self, got: Arrays) -> bool:
        return self.recorded.compare(got).matches
