"""The network of the config's `model`: built, loaded with pretrained weights, partly frozen."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from trainserve.api.catalogue import MODELS
from trainserve.models import zoo
from trainserve.models.config import Model
from trainserve.models.data.watch import Watch
from trainserve.models.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

    from trainserve.models.data.dataset import Task


def build(
    config: Model, folder: Path, shape: tuple[int, int, int], outputs: int, watch: Watch, task: Task = "classification"
) -> nn.Module:
    """Build the network for images of `shape` (H, W, C). Paths are relative to `folder`; `watch` logs what was done.

    Raises ConfigError and DataError as `zoo.build`, and ConfigError for weights or globs that do not fit.
    """
    from trainserve.models import freeze, pretrained

    network = zoo.build(config.name or _script(config, folder), config.options, shape, outputs, task)
    if config.name not in MODELS:
        _look(network, config, shape, watch)
    if config.pretrained is not None:
        path, name = pretrained.located(config.pretrained, folder, watch)
        watch.say(f"pretrained: {pretrained.load(network, path, name)}")
    if config.freeze:
        watch.say(f"frozen: {freeze.freeze(network, config.freeze)}")
    return network


def _look(network: nn.Module, config: Model, shape: tuple[int, int, int], watch: Watch) -> None:
    """Log if the network ignores part of the images. Raises ConfigError if a named model ignores much of them."""
    from trainserve.models.zoo import sight

    seen = sight.sight(network, shape)
    if seen is None or seen.share == 1:
        return
    if config.name is not None and seen.share < sight.FEW:
        raise ConfigError(f"model.name: {config.name} {seen}; {sight.advice(network, shape)}")
    watch.say(f"warning: {config.name or config.script} {seen}; {sight.advice(network, shape)}")


def _script(config: Model, folder: Path) -> str:
    assert config.script is not None
    if ":" not in config.script:
        raise ConfigError(
            f'model.script: "{config.script}" is a whole script; a network is built by "{config.script}:function"'
        )
    return str(folder / config.script)


@contextlib.contextmanager
def blaming(config: Model, folder: Path) -> Iterator[None]:
    """Inside, errors in the user's own code become a ConfigError that names file and line."""
    if config.script is None:
        yield
        return
    from trainserve.models.zoo import script

    with script.blaming((folder / config.script.partition(":")[0]).absolute()):
        yield
