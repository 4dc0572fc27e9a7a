"""A script's model as the `Network` and `Dataset` that export, parity and gates of every model work on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainserve import store
from trainserve.models.config import Export
from trainserve.models.data.dataset import Dataset, Normalisation, Task
from trainserve.models.errors import UserError
from trainserve.models.evaluate import Answers
from trainserve.models.graph import Graph
from trainserve.models.network import Network
from trainserve.models.scoring import measured
from trainserve.models.script.running import Left
from trainserve.models.signature import PROBABILITIES, VALUES, answering

FIELD = "model.script"
_LOOKED_AT = 256
"""Samples whose outputs show whether they are probabilities."""
_IMAGE_AXES = 3
"""Axes from which on a batch of inputs is one of images: (N, H, W), (N, H, W, C), (N, C, H, W)."""


class ScriptNetwork(Network):
    """The model as the script left it. Preprocessing happened in the script: inputs are what it passed to the model.

    A classifier answers with probabilities: softmax is added to a model that gives logits, or their logarithm.
    """

    def __init__(self, body: nn.Module, task: Task, *, gives_probabilities: bool) -> None:
        super().__init__(Normalisation(scale=1.0, mean=[0.0], std=[1.0]), body, task)
        self._as_it_is = gives_probabilities or task == "regression"

    def normalised(self, images: Tensor) -> Tensor:
        """What `body` takes: the same."""
        return images

    def answers(self, logits: Tensor) -> Tensor:
        """Probabilities of the classes, or a regression's values."""
        return logits if self._as_it_is else torch.softmax(logits, dim=1)


@dataclass(frozen=True)
class Adopted:
    """The model on the CPU in evaluation mode, and its samples; `accuracy` is None for a regression."""

    graph: Graph
    dataset: Dataset
    accuracy: float | None
    loss: float
    answers: Answers


def adopt(left: Left, name: str, config: Export) -> Adopted:
    """Raises UserError when the model and its samples do not fit together, or to what `config` asks for."""
    body = left.module.cpu().eval()
    inputs = _narrow(left.inputs)
    outputs = _outputs(body, inputs[:_LOOKED_AT])
    count = outputs.shape[1]
    targets, task = _targets(left.targets, count)
    if len(targets) != len(inputs):
        raise UserError(f"{FIELD}: {len(inputs)} inputs and {len(targets)} labels; there must be as many of both")
    if task == "classification" and not 0 <= targets.min() <= targets.max() < count:
        wrong = targets.min() if targets.min() < 0 else targets.max()
        raise UserError(
            f"{FIELD}: label {wrong} is not allowed; must be 0 to {count - 1}: the model has {count} outputs"
        )
    network = ScriptNetwork(body, task, gives_probabilities=task == "classification" and are_shares(outputs))
    given = store.Tensor(
        name="images" if inputs.ndim >= _IMAGE_AXES else "inputs",
        dtype=str(inputs.dtype),
        shape=[-1, *inputs.shape[1:]],
    )
    answer = PROBABILITIES if task == "classification" else VALUES
    graph = Graph(network, answering(given, config, count, task))
    labels = [str(number) for number in range(count)]
    answered = graph.answer(inputs)[answer]
    accuracy, loss = measured(answered, targets, task)
    training = inputs[:0], targets[:0]
    if left.training is not None:
        training = _narrow(left.training[0]), _targets(left.training[1], count)[0]
    elif config.precision == "int8":
        raise UserError("export.precision: int8 needs training samples to calibrate with: run.publish(..., training=…)")
    dataset = Dataset(name, *training, inputs, targets, labels, task)
    return Adopted(graph, dataset, accuracy, loss, Answers.of(answered, task))


def are_shares(rows: NDArray[Any]) -> bool:
    """Whether every row is of probabilities."""
    return bool((rows >= 0).all() and np.allclose(rows.sum(axis=1), 1, atol=1e-3))


def _outputs(body: nn.Module, inputs: NDArray[Any]) -> NDArray[Any]:
    with torch.inference_mode():
        outputs = body(torch.from_numpy(inputs))
    if not isinstance(outputs, Tensor) or outputs.ndim != 2 or len(outputs) != len(inputs):
        got = f"shape {list(outputs.shape)}" if isinstance(outputs, Tensor) else type(outputs).__name__
        raise UserError(f"{FIELD}: the model answers {len(inputs)} inputs with {got}; must be one tensor (N, K)")
    values: NDArray[Any] = outputs.numpy()
    return values


def _narrow(inputs: NDArray[Any]) -> NDArray[Any]:
    """float32 for reals of any width, as the models compute; whole numbers stay as they are."""
    return np.ascontiguousarray(inputs, dtype=np.float32 if inputs.dtype.kind == "f" else inputs.dtype)


def _targets(targets: NDArray[Any], outputs: int) -> tuple[NDArray[Any], Task]:
    """Class numbers (N,) from numbers, a column of them or one-hot rows; else the numbers (N, K) of a regression."""
    rows = targets.reshape(len(targets), -1)
    if outputs > 1 and rows.shape[1] == outputs and are_shares(rows):
        return rows.argmax(axis=1), "classification"
    if outputs > 1 and rows.shape[1] == 1 and (rows == np.floor(rows)).all():
        return rows[:, 0].astype(np.int64), "classification"
    if rows.shape[1] != outputs:
        raise UserError(f"{FIELD}: labels of shape {list(targets.shape)} do not fit a model with {outputs} outputs")
    return rows.astype(np.float32), "regression"
