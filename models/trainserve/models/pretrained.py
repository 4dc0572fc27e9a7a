"""`model.pretrained`: weights to begin with, from a safetensors file or one of torch's, never unpickled.

They must be this network's, tensor by tensor; the head alone, its last layer, may have another size and is then new.
"""

from __future__ import annotations

import hashlib
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trainserve.models.errors import UserError

FIELD = "model.pretrained"
_INSIDE = ("average", "ema", "network", "model", "state_dict", "model_state_dict")
"""Under which keys a checkpoint may hold the weights, beside what else it keeps; the first that is there counts."""
_WRAPPERS = ("module.", "_orig_mod.", "body.")
"""What DistributedDataParallel, torch.compile and our own `Network` put before every name."""
_SHOWN = 5
"""Tensors that an error names."""


def load(network: nn.Module, path: Path) -> str:
    """Give `network` the weights in the file; gives one line that says what was done.

    Raises UserError when the file cannot be read, or naming the tensors that do not fit.
    """
    own = network.state_dict()
    given = _unwrapped(read(path), own)
    head = _head(network)
    differ = {name for name in own.keys() & given.keys() if not _fits(own[name], given[name])}
    new = head if differ & head else set()
    # Files from before PyTorch 0.4.1, torchvision's first ResNets among them, do not count batches.
    missing = {name for name in own.keys() - given.keys() if not name.endswith(".num_batches_tracked")}
    problems = [
        *(f"{name} is {_a(given[name])}, must be {_a(own[name])}" for name in own if name in differ - new),
        *(f"{name} is missing" for name in own if name in missing),
        *(f"{name} is not in the model" for name in given if name not in own),
    ]
    if problems:
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise UserError(f"{FIELD}: {path}: {'; '.join(problems[:_SHOWN])}{more}")
    taken = {name: tensor for name, tensor in given.items() if name not in new}
    network.load_state_dict(taken, strict=False)
    if not new:
        return f"{len(taken)} tensors from {path}"
    layer = next(iter(new)).rpartition(".")[0]
    return f"{len(taken)} tensors from {path}; the head {layer} has another size there and is new"


def verify(path: Path, digest: str | None) -> None:
    """Raises UserError when the file's content is not what `digest` ("sha256:" and 64 hex digits) says."""
    if digest is None:
        return
    try:
        with path.open("rb") as file:
            found = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    except OSError as error:
        raise UserError(f"{FIELD}: {path}: {error.strerror}") from None
    if found != digest:
        raise UserError(f"{FIELD}.digest: {path} is {found}; must be {digest}")


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name: safetensors, or what torch.save wrote of a state dict or of a dict around one.

    Raises UserError; objects other than tensors and plain values are never made.
    """
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise UserError(f"{FIELD}: {path}: {error.strerror}") from None
    # Eight bytes of length and then JSON: https://huggingface.co/docs/safetensors
    content = _safetensors(path) if start[8:] == b"{" else _torch(path)
    inside = next((content[key] for key in _INSIDE if isinstance(content.get(key), Mapping)), content)
    tensors = {str(name): value for name, value in inside.items() if isinstance(value, Tensor)}
    if not tensors or len(tensors) < len(inside):
        others = [str(name) for name in inside if str(name) not in tensors]
        raise UserError(f"{FIELD}: {path}: not a state dict: {', '.join(others[:_SHOWN]) or 'it is empty'}")
    return tensors


def _safetensors(path: Path) -> Mapping[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{FIELD}: {path}: truncated, or not a safetensors file: {error}") from error


def _torch(path: Path) -> Mapping[str, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a pickle protocol that the error will speak of
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{FIELD}: {path}: holds Python objects, which are never unpickled, or is damaged; must be a safetensors "
            "file, or torch.save(model.state_dict(), ...)"
        ) from error
    except Exception as error:  # damaged bytes make zipfile and torch raise nearly anything
        raise UserError(f"{FIELD}: {path}: truncated, or neither safetensors nor a file of torch.save's") from error
    if not isinstance(content, Mapping):
        raise UserError(f"{FIELD}: {path}: holds a {type(content).__name__}; must be a state dict")
    return content


def _unwrapped(given: dict[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names as the network has them: while none of them is its own, what wrappers put before them is taken off."""
    while own.keys().isdisjoint(given):
        wrapper = next((each for each in _WRAPPERS if any(name.startswith(each) for name in given)), None)
        if wrapper is None:
            break
        given = {name.removeprefix(wrapper): tensor for name, tensor in given.items() if name.startswith(wrapper)}
    return given


def _head(network: nn.Module) -> set[str]:
    """Names of the parameters of the last layer that has any."""
    names = [name for name, _ in network.named_parameters()]
    return {name for name in names if name.rpartition(".")[0] == names[-1].rpartition(".")[0]}


def _fits(own: Tensor, given: Tensor) -> bool:
    return own.shape == given.shape and own.is_floating_point() == given.is_floating_point()


def _a(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
