"""A Keras model as a plain nn.Module, with its samples as arrays."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainserve.models.errors import ScriptError
from trainserve.models.script.running import Left

if TYPE_CHECKING:
    from trainserve.models.data.dataset import Task
    from trainserve.models.script.keras import Given

_OF_VALUES = re.compile(r"^(mse|mae|mape|msle)$|squared_?(error|log)|absolute|huber|cosh|poisson")
"""Names of Keras's regression losses."""
ENOUGH = 10_000
"""Most samples read again from batches."""


class KerasBody(nn.Module):
    """A Keras model in inference mode, on the CPU."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model: Any = model

    def forward(self, inputs: Tensor) -> Tensor:
        """Apply the model."""
        import keras  # type: ignore[import-untyped]

        with keras.device("cpu"):
            answers: Tensor = self.model(inputs, training=False)
        return answers

    def half(self) -> Self:
        """Convert to float16, including the layers' dtype policies, to which Keras casts inputs."""
        import keras

        policy = keras.DTypePolicy("float16")
        for layer in self.model._flatten_layers():
            layer.dtype_policy = policy
        return super().half()


def left(given: Given, fitted: Given | None) -> Left:
    """The model with its samples in `given`, and some of the training samples in `fitted`.

    Raises ScriptError if Keras did not run on PyTorch or the samples cannot be read.
    """
    if not isinstance(given.model, nn.Module):
        raise ScriptError("model.script: Keras runs on another backend than torch; do not set KERAS_BACKEND")
    inputs, targets = _samples(given)
    training = None
    if fitted is not None and fitted.y is not None:  # else batches, which may be exhausted
        training = _array(fitted.x, "x")[:ENOUGH], _array(fitted.y, "y")[:ENOUGH]
    return Left(
        KerasBody(given.model), inputs, targets, given.held_out, training, task(getattr(given.model, "loss", None))
    )


def task(loss: Any) -> Task | None:
    """The task of a loss, if its name tells: after a squared error an output in 0..1 is not a probability."""
    name = loss if isinstance(loss, str) else getattr(loss, "name", None) or getattr(loss, "__name__", "")
    return "regression" if _OF_VALUES.search(str(name).lower()) else None


def _samples(given: Given) -> tuple[NDArray[Any], NDArray[Any]]:
    x, y = (given.x, given.y) if given.y is not None else _gathered(given.x)
    return _array(x, "x"), _array(y, "y")


def _array(values: Any, name: str) -> NDArray[Any]:
    if isinstance(values, Tensor):
        return values.detach().cpu().numpy()
    if isinstance(values, dict | list | tuple) and not (isinstance(values, list) and np.isscalar(values[0])):
        raise ScriptError(f"model.script: {name} holds several arrays; a model with one input and one output is needed")
    return np.asarray(values)


def _gathered(batches: Any) -> tuple[Tensor, Tensor]:
    """Inputs and targets of at least ENOUGH samples (or all) from re-iterable batches (x, y, ...)."""
    if isinstance(batches, Iterable) and iter(batches) is not batches:
        given: Iterable[Any] = batches
    elif hasattr(batches, "num_batches") and hasattr(batches, "__getitem__"):  # keras.utils.PyDataset
        given = (batches[number] for number in range(batches.num_batches))
    else:
        raise ScriptError(
            f"model.script: evaluate was given a {type(batches).__name__}, which can be read only once; the exported "
            "model is checked on the same samples: give arrays, a DataLoader or a PyDataset"
        )
    parts: list[tuple[Tensor, Tensor]] = []
    count = 0
    for batch in given:
        parts.append((torch.as_tensor(batch[0]), torch.as_tensor(batch[1])))
        count += len(parts[-1][0])
        if count >= ENOUGH:
            break
    return torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])
