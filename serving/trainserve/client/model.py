"""Inputs and outputs of a served model, and its predictions: names, shapes, dtypes, labels and probabilities."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainserve.client.errors import BadInput

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class TensorInfo:
    """An input or output as the server describes it; -1 is an axis of any length, such as the batch axis."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def check(self, array: Array) -> None:
        """Raise BadInput unless `array` is a batch that this input takes."""
        fits = len(array.shape) == len(self.shape) and all(
            size in (-1, given) for size, given in zip(self.shape, array.shape, strict=True)
        )
        if array.dtype != self.dtype or not fits:
            raise BadInput(
                f"input {self.name}: the model takes {self.dtype} {_shape(self.shape)}, "
                f"given {array.dtype} {_shape(array.shape)}"
            )

    def fitted(self, array: Array) -> Array:
        """Return `array` with the axis of 1 that a server requires for single numbers: (n,) to (n, 1), () to (1,)."""
        alone = self.shape in ((-1, 1), (1,)) and array.ndim == len(self.shape) - 1
        return array[..., None] if alone else array


@dataclass(frozen=True)
class ModelInfo:
    """A served model. `max_batch` is the maximum number of rows in a request, 0 for a model without a batch axis."""

    name: str
    version: str
    max_batch: int
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]

    def check(self, inputs: Mapping[str, Array]) -> None:
        """Raise BadInput unless `inputs` are exactly those that the model takes, each in its dtype and shape."""
        names = {tensor.name for tensor in self.inputs}
        if set(inputs) != names:
            raise BadInput(f"the model takes inputs {_listed(names)}; given {_listed(inputs)}")
        for tensor in self.inputs:
            tensor.check(inputs[tensor.name])

    def named(self, inputs: Array | Mapping[str, Array]) -> Mapping[str, Array]:
        """Return `inputs` by name, fitted; a single array is that of a model's only input. Raises BadInput."""
        if isinstance(inputs, Mapping):
            return self.fitted(inputs)
        if len(self.inputs) != 1:
            names = _listed(tensor.name for tensor in self.inputs)
            raise BadInput(f"model {self.name} takes {len(self.inputs)} inputs ({names}), not one array")
        return self.fitted({self.inputs[0].name: inputs})

    def fitted(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return `inputs`, each with the axis that its tensor requires (TensorInfo.fitted)."""
        known = {tensor.name: tensor for tensor in self.inputs}
        return {name: known[name].fitted(array) if name in known else array for name, array in inputs.items()}

    def batches(self, inputs: Mapping[str, Array]) -> Iterator[dict[str, Array]]:
        """Yield `inputs` in batches of at most `max_batch` rows; as one batch for a model without a batch axis.

        Raises BadInput unless all have the same number of rows, at least 1.
        """
        self.check(inputs)
        if not self.max_batch:
            yield dict(inputs)
            return
        rows = {len(array) for array in inputs.values()}
        if len(rows) > 1 or 0 in rows:
            held = " and ".join(map(str, sorted(rows)))
            raise BadInput(f"the arrays have {held} rows; must be the same, at least 1")
        (count,) = rows
        for start in range(0, count, self.max_batch):
            yield {name: array[start : start + self.max_batch] for name, array in inputs.items()}

    def scores(self) -> TensorInfo:
        """Return the output of class probabilities: the first of shape [n, classes]. Raises BadInput if there is none.

        Outputs of real numbers are preferred, and among them those of several values per row: a single one may be the
        number of the best class. Outputs of text are left out.
        """
        fitting = [
            each for each in self.outputs if len(each.shape) == 2 and each.shape[1] > 0 and each.dtype.kind != "O"
        ]
        for real, least in ((True, 2), (True, 1), (False, 2), (False, 1)):
            for tensor in fitting:
                if tensor.shape[1] >= least and (tensor.dtype.kind == "f") >= real:
                    return tensor
        shapes = ", ".join(f"{tensor.name} {_shape(tensor.shape)}" for tensor in self.outputs)
        raise BadInput(f"model {self.name} has no output of class probabilities [n, classes]; its outputs: {shapes}")


@dataclass(frozen=True)
class Predictions:
    """Predictions for n rows: `probabilities` (n, K), as the model returned them, and `labels` of the K classes."""

    labels: tuple[str, ...]
    probabilities: Array

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.probabilities)

    @property
    def best(self) -> list[str]:
        """The most probable label of each row."""
        return [self.labels[index] for index in self.probabilities.argmax(axis=1)]

    def top(self, count: int) -> list[list[tuple[int, str, float]]]:
        """Return each row's `count` most probable classes as (index, label, probability), the most probable first."""
        order = np.argsort(-self.probabilities, axis=1, kind="stable")[:, :count]
        return [
            [(int(index), self.labels[index], float(row[index])) for index in indexes]
            for row, indexes in zip(self.probabilities, order, strict=True)
        ]


def _shape(shape: tuple[int, ...]) -> str:
    return "[" + ", ".join("n" if size == -1 else str(size) for size in shape) + "]"


def _listed(names: Any) -> str:
    return ", ".join(sorted(names)) or "none"
