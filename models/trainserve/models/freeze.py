"""`model.freeze`: parameters, by name, that are not trained; a fully frozen BatchNorm also keeps its running
statistics."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from trainserve.api.refusal import guess
from trainserve.models.errors import ConfigError

FIELD = "model.freeze"


def freeze(network: nn.Module, globs: Sequence[str]) -> str:
    """Freeze the parameters that `globs` match (`*` also matches dots: `layer1.*`); returns a summary line.

    Raises ConfigError for a glob that matches nothing, or if nothing is left to train.
    """
    parameters = dict(network.named_parameters())
    for glob in globs:
        if not any(fnmatchcase(name, glob) for name in parameters):
            raise ConfigError(f"{FIELD}: {glob!r} matches no parameter; {_close(glob, list(parameters))}")
    frozen = {name for name in parameters if any(fnmatchcase(name, glob) for glob in globs)}
    if len(frozen) == len(parameters):
        raise ConfigError(f"{FIELD}: {', '.join(map(repr, globs))} match all parameters; nothing is left to train")
    for name in frozen:
        parameters[name].requires_grad_(False)
    for path, module in network.named_modules():
        if isinstance(module, _BatchNorm) and _is_frozen(path, module, globs):
            _fix(module)
    count = sum(parameters[name].numel() for name in frozen)
    return f"{count} of {sum(each.numel() for each in parameters.values())} parameters in {len(frozen)} tensors"


def _is_frozen(path: str, norm: _BatchNorm, globs: Sequence[str]) -> bool:
    """Whether all parameters of `norm` are frozen; without parameters, whether a glob matches its statistics."""
    own = list(norm.parameters(recurse=False))
    if own:
        return not any(parameter.requires_grad for parameter in own)
    return any(fnmatchcase(f"{path}.running_mean", glob) for glob in globs)


def _fix(norm: _BatchNorm) -> None:
    """Keep `norm` in evaluation mode, whatever the mode of the network.

    By a subclass rather than by an attribute, which in a copy of the network would refer to the original.
    """
    norm.__class__ = type(f"Fixed{type(norm).__name__}", (type(norm),), {"train": _train})
    norm.train()


def _train(norm: Any, mode: bool = True) -> Any:
    return nn.Module.train(norm, False)


def _close(glob: str, names: list[str]) -> str:
    """Suggestions for a glob: similar names and prefixes of names."""
    beginnings = {".".join(name.split(".")[:depth]) + ".*" for name in names for depth in range(1, name.count(".") + 1)}
    return guess(glob, [*sorted(beginnings), *names]) or f"there are: {', '.join(names[:5])}, ..."
