"""Models by name. A model is built for the shape of the images and the number of classes.

This module does not import torch, so that the names are known before it is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

MODELS = ("convnet",)


def build(name: str, given: Mapping[str, Any], shape: tuple[int, int, int], classes: int) -> nn.Module:
    """The network: (N, C, H, W) float32 in, logits (N, classes) out. `shape` is (H, W, C).

    Raises UserError for options the model does not take, DataError for images it cannot take.
    """
    from trainserve.models.config import options
    from trainserve.models.zoo import convnet

    assert name in MODELS
    return convnet.build(options(convnet.Options, given, "model.options"), shape, classes)
