"""`model.freeze`: parameters, by name, that stay as they are; a batch norm all of whose do keeps its statistics too."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from trainserve.models.config.base import guess
from trainserve.models.errors import UserError

FIELD = "model.freeze"


def freeze(network: nn.Module, globs: Sequence[str]) -> str:
    """Freeze what the globs match (`*` also crosses dots: `layer1.*`); gives one line that says how much that is.

    Raises UserError for a glob that matches nothing, and when nothing is left to train.
    """
    parameters = dict(network.named_parameters())
    for glob in globs:
        if not any(fnmatchcase(name, glob) for name in parameters):
            raise UserError(f"{FIELD}: {glob!r} matches no parameter; {_close(glob, list(parameters))}")
    frozen = {name for name in parameters if any(fnmatchcase(name, glob) for glob in globs)}
    if len(frozen) == len(parameters):
        raise UserError(f"{FIELD}: {', '.join(map(repr, globs))} match all parameters; nothing is left to train")
    for name in frozen:
        parameters[name].requires_grad_(False)
    for path, module in network.named_modules():
        if isinstance(module, _BatchNorm) and _is_frozen(path, module, globs):
            _fix(module)
    count = sum(parameters[name].numel() for name in frozen)
    return f"{count} of {sum(each.numel() for each in parameters.values())} parameters in {len(frozen)} tensors"


def _is_frozen(path: str, norm: _BatchNorm, globs: Sequence[str]) -> bool:
    """Whether all its parameters are; of one that has none, whether its statistics would be matched."""
    own = list(norm.parameters(recurse=False))
    if own:
        return not any(parameter.requires_grad for parameter in own)
    return any(fnmatchcase(f"{path}.running_mean", glob) for glob in globs)


def _fix(norm: _BatchNorm) -> None:
    """Keep it in evaluation mode, whatever mode the network around it is put into.

    By a class of its own rather than by an attribute, so that a copy of the network keeps itself and not the original.
    """
    norm.__class__ = type(f"Fixed{type(norm).__name__}", (type(norm),), {"train": _train})
    norm.train()


def _train(norm: Any, mode: bool = True) -> Any:
    return nn.Module.train(norm, False)


def _close(glob: str, names: list[str]) -> str:
    """What was perhaps meant: names and beginnings of names."""
    beginnings = {".".join(name.split(".")[:depth]) + ".*" for name in names for depth in range(1, name.count(".") + 1)}
    return guess(glob, [*sorted(beginnings), *names]) or f"there are: {', '.join(names[:5])}, ..."
