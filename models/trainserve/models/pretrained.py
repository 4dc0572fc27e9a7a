"""`model.pretrained`: weights to begin with, from a safetensors file or one of torch's, never unpickled.

They must be this network's, tensor by tensor; the head alone, its last layer, may have another size and is then new.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trainserve.models.config.model import Pretrained
from trainserve.models.data import digests, staging
from trainserve.models.data.cache import Cache
from trainserve.models.data.watch import Watch
from trainserve.models.errors import DataError, UserError

FIELD = "model.pretrained"
_INSIDE = ("average", "ema", "network", "model", "state_dict", "model_state_dict")
"""Under which keys a checkpoint may hold the weights, beside what else it keeps; the first that is there counts."""
_WRAPPERS = ("module.", "_orig_mod.", "body.")
"""What DistributedDataParallel, torch.compile and our own `Network` put before every name."""
_SHOWN = 5
"""Tensors that an error names."""


def located(config: Pretrained, folder: Path, watch: Watch) -> tuple[Path, str]:
    """The file, fetched into the cache where only a URI is given, and what its user calls it.

    A path is relative to `folder`. Raises DataError when it cannot be had or has another digest.
    """
    cache = Cache(watch)
    try:
        if config.path is None:
            assert config.uri is not None
            return staging.stage(config.uri, config.digest, partial(_refuse_a_folder, config.uri), cache)[0], config.uri
        path = folder / config.path
        if config.digest is not None:
            digests.verified(path, config.digest, cache)
    except DataError as error:
        raise DataError(f"{FIELD}: {error}") from error
    except OSError as error:
        raise DataError(f"{FIELD}: {path}: {error.strerror}") from error
    return path, str(path)


def _refuse_a_folder(uri: str, is_folder: bool) -> None:
    if is_folder:
        raise DataError(f"{uri} is a folder; must be one file")


def load(network: nn.Module, path: Path, name: str) -> str:
    """Give `network` the weights in the file, which its user calls `name`; gives one line that says what was done.

    Raises what `read` does, and UserError naming the tensors that do not fit.
    """
    own = network.state_dict()
    given = _unwrapped(read(path, name), own)
    head, both = _head(network), own.keys() & given.keys()
    new = head if any(own[each].shape != given[each].shape for each in head & both) else set()
    differ = {each for each in both - new if not _fits(own[each], given[each])}
    # Files from before PyTorch 0.4.1, torchvision's first ResNets among them, do not count batches.
    missing = {each for each in own.keys() - both - new if not each.endswith(".num_batches_tracked")}
    problems = [
        *(f"{each} is {_a(given[each])}, must be {_a(own[each])}" for each in own if each in differ),
        *(f"{each} is missing" for each in own if each in missing),
        *(f"{each} is not in the model" for each in given if each not in own),
    ]
    if problems:
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise UserError(f"{FIELD}: {name}: {'; '.join(problems[:_SHOWN])}{more}")
    taken = {each: tensor for each, tensor in given.items() if each not in new}
    network.load_state_dict(taken, strict=False)
    if not new:
        return f"{len(taken)} tensors from {name}"
    layer = next(iter(new)).rpartition(".")[0]
    return f"{len(taken)} tensors from {name}; the head {layer} has another size there and is new"


def read(path: Path, name: str) -> dict[str, Tensor]:
    """The tensors of a file by name: safetensors, or what torch.save wrote of a state dict or of a dict around one.

    Raises DataError when it cannot be opened, UserError when it is none of these; objects other than tensors and plain
    values are never made.
    """
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise DataError(f"{FIELD}: {name}: {error.strerror}") from error
    # Eight bytes of length and then JSON: https://huggingface.co/docs/safetensors
    content = _safetensors(path, name) if start[8:] == b"{" else _torch(path, name)
    inside = next((content[key] for key in _INSIDE if isinstance(content.get(key), Mapping)), content)
    tensors = {str(key): value for key, value in inside.items() if isinstance(value, Tensor)}
    if not tensors or len(tensors) < len(inside):
        others = [str(key) for key in inside if str(key) not in tensors]
        raise UserError(f"{FIELD}: {name}: not a state dict: {', '.join(others[:_SHOWN]) or 'it is empty'}")
    return tensors


def _safetensors(path: Path, name: str) -> Mapping[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{FIELD}: {name}: truncated, or not a safetensors file: {error}") from error


def _torch(path: Path, name: str) -> Mapping[str, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a pickle protocol that the error will speak of
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{FIELD}: {name}: holds Python objects, which are never unpickled, or is damaged; must be a safetensors "
            "file, or torch.save(model.state_dict(), ...)"
        ) from error
    except Exception as error:  # damaged bytes make zipfile and torch raise nearly anything
        raise UserError(f"{FIELD}: {name}: truncated, or neither safetensors nor a file of torch.save's") from error
    if not isinstance(content, Mapping):
        raise UserError(f"{FIELD}: {name}: holds a {type(content).__name__}; must be a state dict")
    return content


def _unwrapped(given: dict[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names as the network has them: what wrappers put before them is taken off, unless fewer would then be its own."""
    while wrapper := next((each for each in _WRAPPERS if any(name.startswith(each) for name in given)), None):
        inner = {name.removeprefix(wrapper): tensor for name, tensor in given.items() if name.startswith(wrapper)}
        if len(own.keys() & inner.keys()) < len(own.keys() & given.keys()):
            break
        given = inner
    return given


def _head(network: nn.Module) -> set[str]:
    """Names of the parameters of the last layer that has any."""
    names = [name for name, _ in network.named_parameters()]
    return {name for name in names if name.rpartition(".")[0] == names[-1].rpartition(".")[0]}


def _fits(own: Tensor, given: Tensor) -> bool:
    return own.shape == given.shape and own.is_floating_point() == given.is_floating_point()


def _a(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
