"""The model zoo: models by name, built for an image shape and a number of outputs.

This module does not import torch, so that the names are available without it.

Parameters for 10 classes of 32x32x3 images, and of 28x28x1:

| name     | what                                                   | 32x32x3    | 28x28x1    |
|----------|--------------------------------------------------------|------------|------------|
| convnet  | a convolution and two dense layers, the classic CNN    | 923,914    | 693,962    |
| gru      | image rows as time steps, gated recurrent units        | 88,074     | 61,962     |
| lstm     | image rows as time steps, long short-term memory       | 117,002    | 82,186     |
| resnet9  | the shape of the fast CIFAR nets                       | 6,573,130  | 6,571,978  |
| resnet18 | basic blocks                                           | 11,173,962 | 11,172,810 |
| resnet34 | basic blocks, twice as deep                            | 21,282,122 | 21,280,970 |
| resnet50 | bottleneck blocks                                      | 23,520,842 | 23,519,690 |

In addition, `timm/<name>` is any model of timm, if installed, and `path.py:function` the user's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trainserve.api.catalogue import (
    TIMM,
    ConvNetOptions,
    RecurrentOptions,
    ResNet9Options,
    ResNetOptions,
    model_refusal,
)
from trainserve.models.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

    from trainserve.models.data.dataset import Task


def build(
    name: str, given: Mapping[str, Any], shape: tuple[int, int, int], outputs: int, task: Task = "classification"
) -> nn.Module:
    """Build network `name` with options `given`: (N, C, H, W) float32 to (N, outputs). `shape` is (H, W, C).

    The user's own network may return (N, 1) for two classes: the logit of class 1.
    Raises ConfigError for an unknown name and options that the model does not take, ScriptError for errors in the
    user's own code, DataError for images that the model cannot take.
    """
    from trainserve.models.config import options
    from trainserve.models.zoo import convnet, recurrent, resnet

    if name.startswith(TIMM):
        from trainserve.models.zoo import from_timm

        return from_timm.build(name.removeprefix(TIMM), given, shape, outputs)
    if ".py:" in name:
        from trainserve.models.zoo import script

        return script.build(name, given, shape, outputs, task)
    match name:
        case "convnet":
            return convnet.build(options(ConvNetOptions, given, "model.options"), shape, outputs)
        case "gru" | "lstm":
            return recurrent.build(name, options(RecurrentOptions, given, "model.options"), shape, outputs)
        case "resnet9":
            return resnet.build_nine(options(ResNet9Options, given, "model.options"), shape, outputs)
        case "resnet18" | "resnet34" | "resnet50":
            return resnet.build(name, options(ResNetOptions, given, "model.options"), shape, outputs)
        case _:
            raise ConfigError(f"model.name: {model_refusal(name)}")
