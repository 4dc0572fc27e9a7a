"""For your own PyTorch script, run by `model.script: train.py`: four lines report its progress and publish its model.

    from trainserve.models import sdk

    run = sdk.start(epochs=5)
    run.epoch(epoch, loss=loss, accuracy=accuracy)   # at every epoch's end, numbered from 1
    run.publish(model, test_images, test_labels)     # once it is trained

When the script has ended, the model is exported to ONNX and checked on the test samples. Outside of a TrainJob these
lines do nothing, so that the script can be tried locally.
"""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from trainserve.api.pod import Variable
from trainserve.models.errors import ScriptError
from trainserve.models.script import running

if TYPE_CHECKING:
    from torch import nn


class Run:
    """The run of the script."""

    def __init__(self, epochs: int | None, live: running.Running | None) -> None:
        self._epochs, self._live = epochs, live
        self._samples = 0

    def epoch(
        self,
        epoch: int,
        *,
        loss: Any = None,
        accuracy: Any = None,
        samples: int | None = None,
        validation_loss: Any = None,
        validation_accuracy: Any = None,
        learning_rate: Any = None,
    ) -> None:
        """Report the end of `epoch` (from 1) with its mean loss, accuracy (0..1) and number of samples.

        The other metrics are only for the curves of the version's report.
        """
        number = _whole(epoch)
        if number is None or number < 1:
            raise ScriptError(f"run.epoch: epoch {epoch!r} is not allowed; must be a whole number >= 1")
        if self._live is None:
            return
        self._samples += samples or 0
        more = {
            "validation_loss": validation_loss,
            "validation_accuracy": validation_accuracy,
            "learning_rate": learning_rate,
        }
        self._live.trained(
            epochs=self._epochs,
            share=min(number / self._epochs, 1.0) if self._epochs else None,
            samples=self._samples,
            epoch=number,
            more=_known(more),
            **_known({"loss": loss, "accuracy": accuracy}),
        )

    def publish(
        self,
        model: nn.Module,
        images: Any,
        labels: Any,
        training: tuple[Any, Any] | None = None,
        task: Literal["classification", "regression"] | None = None,
    ) -> None:
        """Publish `model` in its present state when the script has ended; the last call counts.

        `images` (N, ...): test samples as the model takes them; `labels`: their class numbers (N,) or values (N, K) of
        a regression. Accuracy, parity and the samples that verify a served model come from them. A model with a single
        output and labels 0 and 1 is a classifier of two classes, whose output is the logit or probability of class 1,
        unless `task` says otherwise.
        `training`: a few hundred training images and labels, which `export.precision: int8` needs. Raises ScriptError
        if images and labels differ in number.
        """
        if task not in (None, "classification", "regression"):
            raise ScriptError(f"run.publish: task {task!r} is not allowed; must be 'classification' or 'regression'")
        if self._live is None:
            return
        inputs, targets = _array(images), _array(labels)
        if len(inputs) != len(targets) or not len(inputs):
            raise ScriptError(
                f"run.publish: {len(inputs)} images and {len(targets)} labels; must be as many, at least 1"
            )
        self._live.left = running.Left(
            copy.deepcopy(_unwrapped(model)).cpu().eval(),
            inputs,
            targets,
            training=None if training is None else (_array(training[0]), _array(training[1])),
            task=task,
        )


def start(epochs: int | None = None) -> Run:
    """The run of this process. `epochs`: the total number, for the percentage and the remaining time."""
    live = running.current
    if live is not None:
        live.begin()
    elif os.environ.get(Variable.CONFIG):
        print("trainserve: not started by model.script, so nothing is reported or published", file=sys.stderr)
    return Run(epochs, live)


def _known(figures: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in figures.items() if value is not None}


def _whole(number: Any) -> int | None:
    """`number` as an int if it is integral, of any library's type, else None."""
    try:
        whole = int(number)
        return whole if whole == number else None
    except (TypeError, ValueError, OverflowError):
        return None


def _array(values: Any) -> Any:
    import numpy as np
    import torch

    if not isinstance(values, torch.Tensor):
        return np.asarray(values)
    values = values.detach().cpu()
    return (values.float() if values.dtype == torch.bfloat16 else values).numpy()  # numpy has no bfloat16


def _unwrapped(model: nn.Module) -> nn.Module:
    """The script's module without DistributedDataParallel, DataParallel and torch.compile around it."""
    import torch

    while True:
        if isinstance(model, torch.nn.parallel.DistributedDataParallel | torch.nn.DataParallel):
            model = model.module
        elif isinstance(inner := getattr(model, "_orig_mod", None), torch.nn.Module):
            model = inner
        else:
            return model
