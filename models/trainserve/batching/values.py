"""What is known of a value at three sizes of the batch: its shape, perhaps its numbers, and where the rows lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

SIZES = (1, 13, 17)
"""Rows in the batch with which every shape is worked out: one row, which Squeeze and comparisons may treat apart, and
two primes that are no graph's own sizes, so that an axis which grows with them is the batch's."""

Shape = tuple[int, ...]
Shapes = tuple[Shape, ...]
"""One for each of SIZES."""
Data = tuple["np.ndarray[Any, Any]", ...]
"""As Shapes: the numbers of a small value that depends on constants and shapes alone."""


class NotRowwise(Exception):
    """An operator mixes rows, or nobody knows that it does not; the message says why, without the operator's name."""


@dataclass(frozen=True)
class Free:
    """The same, however many rows there are and whatever is in them."""


@dataclass(frozen=True)
class Sized:
    """Depends on how many rows there are, and on nothing that is in them."""


@dataclass(frozen=True)
class Rows:
    """Row by row along `axis`: every row of the batch has as many entries there as the next, and they depend on that
    row alone. `sources`: the inputs whose rows they are.

    `outer` is how often the whole batch is found along the axis: 1 where one row's entries come after the other's, and
    as many as there are steps in time where (time, batch) were made one axis.
    """

    axis: int
    sources: frozenset[str] = frozenset()
    outer: int = 1


@dataclass(frozen=True)
class Mixed:
    """Rows are mixed in it, or it is not known that they are not; `reason` names the operator."""

    reason: str


State = Free | Sized | Rows | Mixed


@dataclass(frozen=True)
class Value:
    """A tensor. `elem_type` as onnx numbers it; `shapes` None where they are not known."""

    elem_type: int
    shapes: Shapes | None
    state: State
    data: Data | None = None

    @property
    def rank(self) -> int:
        """Number of axes. Raises NotRowwise where it is not known."""
        if self.shapes is None:
            raise NotRowwise("the shape of its input is unknown")
        return len(self.shapes[0])

    @property
    def numbers(self) -> np.ndarray[Any, Any] | None:
        """Its numbers where they are known and the same at every size."""
        if self.data is None or any(not np.array_equal(self.data[0], each) for each in self.data[1:]):
            return None
        return self.data[0]
