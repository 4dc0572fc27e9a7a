"""`timm/<name>`: any model of timm (https://github.com/huggingface/pytorch-image-models), if timm is installed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from torch import nn

from trainserve.api.catalogue import TIMM, TIMM_REFUSED_OPTIONS
from trainserve.api.refusal import guess
from trainserve.models.errors import ConfigError
from trainserve.models.torchvision import declare_operators
from trainserve.models.zoo import ready


def build(name: str, given: Mapping[str, Any], shape: tuple[int, int, int], outputs: int) -> nn.Module:
    """Build timm's model `name`, with `given` as further arguments of `timm.create_model`.

    A model with a fixed image size (most vision transformers) is built for the data set's size. Raises ConfigError if
    timm is not installed, has no such model, or refuses the options or the images.
    """
    timm = _timm(name)
    if not timm.is_model(name):
        known = timm.list_models()
        raise ConfigError(
            f"model.name: {TIMM + name!r} is unknown; {guess(TIMM + name, [TIMM + one for one in known])}"
            f"timm {timm.__version__} has {len(known)} models"
        )
    for option in given:
        if option in TIMM_REFUSED_OPTIONS:
            raise ConfigError(f"model.options.{option}: not allowed; {TIMM_REFUSED_OPTIONS[option]}")
    sized = {"img_size": shape[:2]} if getattr(timm.get_pretrained_cfg(name), "fixed_input_size", False) else {}
    arguments = {**sized, **given, "in_chans": shape[2], "num_classes": outputs, "exportable": True}
    try:
        network: nn.Module = timm.create_model(name, **arguments)
    except Exception as error:  # whatever its constructors raise
        raise ConfigError(
            f"model.options: {TIMM}{name} cannot be built with {json.dumps(dict(given))}: {ready.told(error)}"
        ) from error
    try:
        ready.check(network, shape, outputs)
    except Exception as error:
        height, width, channels = shape
        raise ConfigError(
            f"model.name: {TIMM}{name} cannot take images of {height}x{width}x{channels}: {ready.told(error)}"
        ) from error
    return network


def _timm(name: str) -> Any:
    if find_spec("timm") is None:
        raise ConfigError(
            f"model.name: {TIMM + name!r} needs timm, which is not installed: pip install 'trainserve[timm]'"
        )
    declare_operators()
    try:
        import timm
    except ImportError as error:
        raise ConfigError(f"model.name: {TIMM + name!r} needs timm, which cannot be imported: {error}") from error
    return timm
