"""A script's model as `Network` and `Dataset`, which export, parity and gates work on."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainserve import store
from trainserve.models import float16, one_output
from trainserve.models.config import Export
from trainserve.models.data.dataset import Dataset, Normalisation, Task
from trainserve.models.errors import ConfigError, ScriptError
from trainserve.models.evaluate import Answers
from trainserve.models.graph import Graph
from trainserve.models.network import Network
from trainserve.models.scoring import measured
from trainserve.models.script.running import Left
from trainserve.models.signature import PROBABILITIES, VALUES, answering
from trainserve.models.zoo import ready

FIELD = "model.script"
_LOOKED_AT = 256
"""Samples used to decide whether outputs are probabilities."""
_GUESSED, _CLEARLY = 0.25, 0.1
"""Squared error of predicting 0.5 for all; a significant difference of accuracy."""
_IMAGE_AXES = 3
"""Fewest axes of a batch of images: (N, H, W), (N, H, W, C), (N, C, H, W)."""


class ScriptNetwork(Network):
    """The script's model. Inputs are those that the script passes to it, after the script's own preprocessing.

    A classifier returns probabilities: softmax is added if the model returns logits or log-probabilities. A single
    output is that of class 1 of two.
    """

    def __init__(self, body: nn.Module, task: Task, *, gives_probabilities: bool) -> None:
        super().__init__(Normalisation(scale=1.0, mean=[0.0], std=[1.0]), body, task)
        self.gives_probabilities = gives_probabilities
        self._as_it_is = gives_probabilities or task == "regression"

    def normalised(self, images: Tensor) -> Tensor:
        """The images unchanged."""
        return images

    def through(self, given: Tensor) -> Tensor:
        """Logits, or the final probabilities or values if the model returns these."""
        if not self._as_it_is:
            return super().through(given)
        outputs: Tensor = self.body(given)
        if self.task == "classification" and one_output.is_one(outputs):
            return one_output.probabilities(outputs)
        return one_output.rows(outputs)

    def answers(self, logits: Tensor) -> Tensor:
        """Probabilities of the classes (N, K), or a regression's values."""
        return logits if self._as_it_is else torch.softmax(logits, dim=1)


@dataclass(frozen=True)
class Adopted:
    """The script's model, on the CPU in evaluation mode, with its samples; `accuracy` is None for a regression.

    `width`: the model's own number of outputs; `was`: the type of its weights if not float32.
    """

    graph: Graph
    width: int
    was: str | None
    dataset: Dataset
    accuracy: float | None
    loss: float
    answers: Answers

    def __str__(self) -> str:
        network, task = self.graph.network, self.dataset.task
        assert isinstance(network, ScriptNetwork)
        narrowed = "" if self.was is None else f"; its weights, {self.was} in the script, are published as float32"
        if task == "regression":
            values = len(self.dataset.labels)
            return f"a regression of {values} value{'s' * (values > 1)}, published unchanged{narrowed}"
        gives = "probabilities" if network.gives_probabilities else "logits, of which softmax makes probabilities"
        outputs = f"{self.width} outputs are"
        if self.width == 1:
            gives = "the probability of class 1" if network.gives_probabilities else "the logit of class 1"
            outputs = "one output is"
        return f"a classifier of {len(self.dataset.labels)} classes, whose {outputs} {gives}{narrowed}"


def adopt(left: Left, name: str, config: Export) -> Adopted:
    """Adopt what the script left. Raises ScriptError if model and samples do not fit each other or `config`."""
    body = left.module.cpu().eval()
    was = float16.others(body)
    body.float()
    inputs = _narrow(left.inputs)
    outputs = _outputs(body, inputs[:_LOOKED_AT])
    width = outputs.shape[1]
    targets, task = _targets(left.targets, width, left.task)
    shares = _are_probabilities(body, inputs, outputs) if task == "classification" else False
    if left.task is None and width == 1 and not shares and task == "classification" and _nears(outputs, targets):
        targets, task = _targets(left.targets, width, "regression")
    count = 2 if width == 1 and task == "classification" else width
    if len(targets) != len(inputs):
        raise ScriptError(f"{FIELD}: {len(inputs)} inputs and {len(targets)} labels; must be as many")
    if task == "classification" and not 0 <= targets.min() <= targets.max() < count:
        wrong = targets.min() if targets.min() < 0 else targets.max()
        raise ScriptError(
            f"{FIELD}: label {wrong} is not allowed; must be 0 to {count - 1}: the model has "
            f"{width} output{'s' if width > 1 else ''}"
        )
    network = ScriptNetwork(body, task, gives_probabilities=shares)
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
        training = _narrow(left.training[0]), _targets(left.training[1], width, task)[0]
    elif config.precision == "int8":
        raise ConfigError(
            "export.precision: int8 needs training samples to calibrate with: run.publish(..., training=…)"
        )
    dataset = Dataset(name, *training, inputs, targets, labels, task)
    return Adopted(graph, width, was, dataset, accuracy, loss, Answers.of(answered, task))


def _are_probabilities(body: nn.Module, inputs: NDArray[Any], outputs: NDArray[Any]) -> bool:
    if outputs.shape[1] > 1:
        return are_shares(outputs)
    return one_output.is_a_probability(body, torch.from_numpy(inputs[:2]), torch.from_numpy(outputs))


def _nears(outputs: NDArray[Any], targets: NDArray[np.int64]) -> bool:
    """Whether a single output approximates labels 0 and 1, as after a squared error, instead of being their logit."""
    values, truth = outputs[:, 0], targets[: len(outputs)]
    better = ((values > 0.5) == truth).mean() - ((values > 0) == truth).mean()
    return bool(np.square(values - truth).mean() < _GUESSED and better > _CLEARLY)


def are_shares(rows: NDArray[Any]) -> bool:
    """Whether every row is a probability distribution."""
    return bool((rows >= 0).all() and np.allclose(rows.sum(axis=1), 1, atol=1e-3))


def _outputs(body: nn.Module, inputs: NDArray[Any]) -> NDArray[Any]:
    try:
        with torch.inference_mode():
            outputs = body(torch.from_numpy(inputs))
    except Exception as error:
        traceback.print_exception(error)
        raise ScriptError(
            f"{FIELD}: the model, its weights as float32, cannot take the inputs of run.publish, {inputs.dtype} "
            f"{list(inputs.shape)}: {ready.told(error)}"
        ) from error
    if not isinstance(outputs, Tensor) or outputs.ndim not in (1, 2) or len(outputs) != len(inputs):
        got = f"shape {list(outputs.shape)}" if isinstance(outputs, Tensor) else type(outputs).__name__
        raise ScriptError(f"{FIELD}: the model returns {got} for {len(inputs)} inputs; must be one tensor (N, K)")
    values: NDArray[Any] = one_output.rows(outputs).numpy()
    return values


def _narrow(inputs: NDArray[Any]) -> NDArray[Any]:
    """Floats of any width as float32; integers unchanged."""
    return np.ascontiguousarray(inputs, dtype=np.float32 if inputs.dtype.kind == "f" else inputs.dtype)


def _targets(targets: NDArray[Any], outputs: int, task: Task | None) -> tuple[NDArray[Any], Task]:
    """Class numbers (N,) from (N,), (N, 1) or one-hot (N, K), or a regression's values (N, K), and the task.

    `task` decides which; None: the values do.
    """
    rows = targets.reshape(len(targets), -1)
    rows = rows.astype(np.int64) if rows.dtype.kind == "b" else rows
    if task != "regression":
        if outputs > 1 and rows.shape[1] == outputs and are_shares(rows):
            return rows.argmax(axis=1), "classification"
        whole = rows.shape[1] == 1 and (rows == np.floor(rows)).all()
        if whole and (outputs > 1 or task is not None or np.isin(rows, (0, 1)).all()):
            return rows[:, 0].astype(np.int64), "classification"
        if task is not None:
            raise ScriptError(f"{FIELD}: labels of shape {list(targets.shape)} are not class numbers")
    if rows.shape[1] != outputs:
        raise ScriptError(f"{FIELD}: labels of shape {list(targets.shape)} do not fit a model with {outputs} outputs")
    return rows.astype(np.float32), "regression"
