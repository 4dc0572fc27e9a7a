"""`model.script: "path.py:function"`: a network that the user's function builds and TrainServe trains.

The function is called as f(shape=(H, W, C), outputs=K, **options) and returns an nn.Module that takes
(N, C, H, W) float32 and returns (N, K), or, for two classes, optionally the logit (N, 1) of class 1.
"""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from trainserve.api.refusal import guess
from trainserve.models import float16
from trainserve.models.data.dataset import Task
from trainserve.models.errors import ConfigError, RunFailed, ScriptError
from trainserve.models.location import where
from trainserve.models.zoo import ready

FIELD = "model.script"


def build(
    reference: str, given: Mapping[str, Any], shape: tuple[int, int, int], outputs: int, task: Task = "classification"
) -> nn.Module:
    """The network that the function named by `reference` returns, called with options `given`.

    Raises ScriptError, with file and line if the user's code fails.
    """
    file, _, name = reference.rpartition(":")
    path = Path(file).absolute()
    with blaming(path):
        function = _function(_module(path), name, path)
        arguments = _arguments(function, given, shape, outputs, f"{path.name}:{name}")
        network = function(**arguments)
        if not isinstance(network, nn.Module):
            came = f"{type(network).__module__}.{type(network).__qualname__}".removeprefix("builtins.")
            raise ScriptError(f"{FIELD}: {path.name}:{name} returns {came}; must be a torch.nn.Module")
        if (kinds := float16.others(network)) is not None:
            raise ScriptError(
                f"{FIELD}: {path.name}:{name} returns {type(network).__name__} with {kinds} weights; must be float32, "
                "in which it is trained and served (for less, set trainer.precision and export.precision)"
            )
        try:
            ready.check(network, shape, outputs, task)
        except ready.WrongOutput as error:
            raise ScriptError(f"{FIELD}: {path.name}:{name} returns {type(network).__name__}: {error}") from None
    return network


@contextlib.contextmanager
def blaming(path: Path) -> Iterator[None]:
    """Inside, errors in code in the folder of `path` become a ScriptError that names file and line.

    The traceback goes to stderr.
    """
    try:
        yield
    except RunFailed:
        raise
    except (Exception, SystemExit) as error:
        place = _misspelt(error, path) or where(path, error.__traceback__)
        if place is None:
            raise
        traceback.print_exception(error)
        raise ScriptError(f"{FIELD}: {place}: {ready.told(error)}") from error


def _misspelt(error: BaseException, path: Path) -> str | None:
    """File and line of a SyntaxError in the folder of `path`, which has no stack frame; None for other errors."""
    if not isinstance(error, SyntaxError) or error.filename is None:
        return None
    file = Path(error.filename)
    return f"{file.relative_to(path.parent)}, line {error.lineno}" if file.is_relative_to(path.parent) else None


def _module(path: Path) -> ModuleType:
    if not path.is_file():
        raise ConfigError(f"{FIELD}: {path}: {'not a file' if path.exists() else 'no such file'}")
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # last, so that files beside it are found but hide no installed module
    name = f"trainserve_script_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look up modules there
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        if error.filename is not None:
            raise
        raise ScriptError(f"{FIELD}: {path}: not Python: {error.msg}") from error
    return module


def _function(module: ModuleType, name: str, path: Path) -> Any:
    function = getattr(module, name, None)
    if callable(function):
        return function
    if function is not None:
        raise ScriptError(f"{FIELD}: {name!r} in {path} is {type(function).__name__}; must be a function")
    own = [each for each, value in vars(module).items() if callable(value) and not each.startswith("_")]
    raise ScriptError(
        f"{FIELD}: {path} has no function {name!r}; {guess(name, own)}it has: {', '.join(sorted(own)) or 'none'}"
    )


def _arguments(
    function: Any, given: Mapping[str, Any], shape: tuple[int, int, int], outputs: int, name: str
) -> dict[str, Any]:
    ours = {"shape": shape, "outputs": outputs}
    for option in given:
        if option in ours:
            raise ConfigError(f"model.options.{option}: not allowed; the data set sets it")
    arguments = ours | dict(given)
    try:
        signature = inspect.signature(function)
    except ValueError:  # some C functions have no signature
        return arguments
    try:
        signature.bind(**arguments)
    except TypeError as error:
        raise ConfigError(
            f"model.options: {name} is called with {', '.join(arguments)} by name and takes {signature}: {error}"
        ) from None
    return arguments
