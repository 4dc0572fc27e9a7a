"""What a served model takes and gives, and what it saw: names, shapes, dtypes, labels and probabilities."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainserve.client.errors import BadInput

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class TensorInfo:
    """An input or output as the server describes it; -1 is an axis of any length, first of all the batch."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def check(self, array: Array) -> None:
        """Raise BadInput unless `array` is a batch this input takes."""
        fits = len(array.shape) == len(self.shape) and all(
            size in (-1, given) for size, given in zip(self.shape, array.shape, strict=True)
        )
        if array.dtype != self.dtype or not fits:
            raise BadInput(
                f"input {self.name}: the model takes {self.dtype} {_shape(self.shape)}, "
                f"given {array.dtype} {_shape(array.shape)}"
            )


@dataclass(frozen=True)
class ModelInfo:
    """What a served model takes and gives; `max_batch` rows in a request at most, 0 for a graph without batch axis."""

    name: str
    version: str
    max_batch: int
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]

    def check(self, inputs: Mapping[str, Array]) -> None:
        """Raise BadInput unless `inputs` are all that the model takes, each as it takes it."""
        names = {tensor.name for tensor in self.inputs}
        if set(inputs) != names:
            raise BadInput(f"the model takes inputs {_listed(names)}; given {_listed(inputs)}")
        for tensor in self.inputs:
            tensor.check(inputs[tensor.name])

    def named(self, inputs: Array | Mapping[str, Array]) -> Mapping[str, Array]:
        """`inputs` by name; one array alone is that of a model's only input. Raises BadInput."""
        if isinstance(inputs, Mapping):
            return inputs
        if len(self.inputs) != 1:
            names = _listed(tensor.name for tensor in self.inputs)
            raise BadInput(f"model {self.name} takes {len(self.inputs)} inputs ({names}), not one array")
        return {self.inputs[0].name: inputs}

    def batches(self, inputs: Mapping[str, Array]) -> Iterator[dict[str, Array]]:
        """`inputs` in parts of at most `max_batch` rows. Raises BadInput unless all hold equally many, at least 1."""
        self.check(inputs)
        rows = {len(array) for array in inputs.values()}
        if len(rows) > 1 or 0 in rows:
            held = " and ".join(map(str, sorted(rows)))
            raise BadInput(f"the arrays hold {held} rows; must be the same, at least 1")
        (count,) = rows
        step = self.max_batch or count
        for start in range(0, count, step):
            yield {name: array[start : start + step] for name, array in inputs.items()}

    def scores(self) -> TensorInfo:
        """The first output with one value per class. Raises BadInput."""
        for tensor in self.outputs:
            if len(tensor.shape) == 2 and tensor.shape[1] > 0:
                return tensor
        shapes = ", ".join(f"{tensor.name} {_shape(tensor.shape)}" for tensor in self.outputs)
        raise BadInput(f"model {self.name} gives no class probabilities of shape [n, classes]; its outputs: {shapes}")


@dataclass(frozen=True)
class Predictions:
    """What a model saw in n rows: `probabilities` (n, K) as it gave them, `labels` of the K classes."""

    labels: tuple[str, ...]
    probabilities: Array

    def __len__(self) -> int:
        """Rows."""
        return len(self.probabilities)

    @property
    def best(self) -> list[str]:
        """The most probable label of each row."""
        return [self.labels[index] for index in self.probabilities.argmax(axis=1)]

    def top(self, count: int) -> list[list[tuple[int, str, float]]]:
        """For each row its `count` most probable classes as (index, label, probability), the most probable first."""
        order = np.argsort(-self.probabilities, axis=1, kind="stable")[:, :count]
        return [
            [(int(index), self.labels[index], float(row[index])) for index in indexes]
            for row, indexes in zip(self.probabilities, order, strict=True)
        ]


def _shape(shape: tuple[int, ...]) -> str:
    return "[" + ", ".join("n" if size == -1 else str(size) for size in shape) + "]"


def _listed(names: Any) -> str:
    return ", ".join(sorted(names)) or "none"
