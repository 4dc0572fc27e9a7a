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
    """Another version of the same model, by its name, with its digest and what was recorded with it."""

    name: str
    digest: str
    recorded: Recorded


@dataclass(frozen=True)
class Evidence:
    """All that the rules look at.

    `served` holds the answers to every sample, alone, in the samples' order; `others` are known versions, `answer`
    asks the server for a known version's samples, `again` for its own, alone, once more.
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
        """Whether single requests are answered as recorded."""
        return self._compared(self.served)

    @cached_property
    def reference(self) -> Reference:
        """The version's own graph."""
        return Reference(self.servable.folder / self.servable.graph, self.recorded)

    @cached_property
    def scores(self) -> str:
        """The output that faults are told by: the first of numbers that is no list of positions. Raises NoReference."""
        for name, array in self.recorded.outputs.items():
            if name not in self.recorded.indexes and array.dtype.kind == "f" and not self.recorded.whole:
                return name
        raise NoReference("no output of it has rows of numbers, one for each sample")

    @cached_property
    def own(self) -> Arrays:
        """What the version's own graph answers here. Raises NoReference."""
        return self.reference.answers(self.recorded.inputs)

    @cached_property
    def own_alone(self) -> Arrays:
        """What it answers to each request by itself. Raises NoReference."""
        return self.reference.answers(self.recorded.inputs, alone=True)

    def own_is_right(self) -> bool:
        """Whether these are what was recorded."""
        return self._compared(self.own)

    def alike(self, one: Arrays, other: Arrays) -> bool:
        """Whether two sets of answers to the samples are as good as equal."""
        return replace(self.recorded, outputs=one).compare(other).matches

    def few(self, arrays: Arrays) -> Arrays:
        """Of the samples that edited graphs are run on."""
        return {name: array[:SAMPLES] for name, array in arrays.items()}

    def _compared(self, got: Arrays) -> bool:
        return self.recorded.compare(got).matches
