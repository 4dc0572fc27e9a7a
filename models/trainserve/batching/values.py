"""A value at the three batch sizes of SIZES: its shape, its numbers if known, and its batch axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

SIZES = (1, 13, 17)
"""Batch sizes at which every shape is inferred: 1, which Squeeze and comparisons may treat differently, and two primes
that no graph uses as a size, so that an axis that grows with them is the batch axis."""

Shape = tuple[int, ...]
Shapes = tuple[Shape, ...]
"""One shape for each of SIZES."""
Data = tuple["np.ndarray[Any, Any]", ...]
"""The numbers, for each of SIZES, of a small value that depends on constants and shapes only."""


class NotRowwise(Exception):
    """An operator mixes rows, or may do so; the message says why, without the operator's name."""


@dataclass(frozen=True)
class Free:
    """State of a value that does not depend on the batch."""


@dataclass(frozen=True)
class Sized:
    """State of a value that depends on the number of rows, but not on their content."""


@dataclass(frozen=True)
class Rows:
    """State of a value with batch axis `axis`, along which each row has equally many entries that depend only on it.

    `sources`: the graph inputs from which the rows come. `outer`: how often the whole batch repeats along the axis: 1
    if the entries of a row are adjacent, the number of time steps after (time, batch) were flattened into one axis.
    """

    axis: int
    sources: frozenset[str] = frozenset()
    outer: int = 1


@dataclass(frozen=True)
class Mixed:
    """State of a value that mixes rows, or may do so; `reason` names the operator."""

    reason: str


State = Free | Sized | Rows | Mixed


@dataclass(frozen=True)
class Value:
    """A tensor; `elem_type`: onnx's TensorProto.DataType; `shapes`: None if unknown."""

    elem_type: int
    shapes: Shapes | None
    state: State
    data: Data | None = None

    @property
    def rank(self) -> int:
        """Number of axes. Raises NotRowwise if unknown."""
        if self.shapes is None:
            raise NotRowwise("the shape of its input is unknown")
        return len(self.shapes[0])

    @property
    def numbers(self) -> np.ndarray[Any, Any] | None:
        """The tensor's numbers if known and the same at every batch size, else None."""
        if self.data is None or any(not np.array_equal(self.data[0], each) for each in self.data[1:]):
            return None
        return self.data[0]
