"""`model.pretrained`: initial weights from a safetensors or torch file, never unpickled.

Every tensor of the network must be in the file with its shape; only the head, its last layer, may have another size and
is then newly initialised. `state_dicts` finds the tensors in a file.
"""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Mapping, Set
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trainserve.models.config import Pretrained
from trainserve.models.data import digests, staging
from trainserve.models.data.cache import Cache
from trainserve.models.data.watch import Watch
from trainserve.models.errors import ConfigError, DataError
from trainserve.models.state_dicts import Ambiguous, Found, Stored, find, stored

FIELD = "model.pretrained"
_SHOWN = 5
"""Maximum number of tensors named in an error."""
_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")


def located(config: Pretrained, folder: Path, watch: Watch) -> tuple[Path, str]:
    """Return the path of the file, fetched into the cache if only a URI is given, and the user's name of it.

    A relative path is resolved against `folder`. Raises DataError if it cannot be read or has another digest.
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
    """Load the weights in the file into `network`; return a summary line. `name` is the user's name of the file.

    Raises what `read` raises, and ConfigError naming the tensors that do not fit.
    """
    own = network.state_dict()
    found = _found(read(path, name), own, name)
    given = found.tensors
    head, both = _head(network), own.keys() & given.keys()
    new = head if any(own[each].shape != given[each].shape for each in head & both) else set()
    differ = {each for each in both - new if not _fits(own[each], given[each])}
    # Files from before PyTorch 0.4.1, such as torchvision's first ResNets, have no batch counts.
    missing = {each for each in own.keys() - both - new if not each.endswith(".num_batches_tracked")}
    missing -= _tied(own, both)
    problems = [
        *(f"{each} is {_a(given[each])}, must be {_a(own[each])}" for each in own if each in differ),
        *(f"{each} is missing" for each in own if each in missing),
        *(f"{each} is not in the model" for each in given if each not in own),
    ]
    if problems:
        has = f"; the file has {_some([*given])}" if missing else ""
        raise ConfigError(f"{FIELD}: {name}{_behind(found)}: {_some(problems, '; ')}{has}")
    taken = {each: tensor for each, tensor in given.items() if each not in new}
    network.load_state_dict(taken, strict=False)
    said = f"{len(taken)} tensors from {name}{_behind(found)}"
    if not new:
        return said
    layer = next(iter(new)).rpartition(".")[0]
    return f"{said}; the head {layer} has another size there and is newly initialised"


def _found(file: Stored, own: Mapping[str, Tensor], name: str) -> Found:
    """Return the network's tensors in `file`. Raises ConfigError if there are none, or two equally good sets."""
    try:
        found = find(file, own)
    except Ambiguous as two:
        one, other = two.prefixes
        raise ConfigError(
            f"{FIELD}: {name}: has the model's tensors twice, with prefix {one!r} and {other!r}; must have them once"
        ) from None
    if found is None:
        raise ConfigError(
            f"{FIELD}: {name}: none of its tensors is one of the model's; it has {_some([*file])}; the model has "
            f"{_some([*own])}"
        )
    return found


def _tied(own: Mapping[str, Tensor], present: Set[str]) -> set[str]:
    """Return the names of tensors that share memory with one in `present`: safetensors stores only one of them."""
    memory = {_memory(own[each]) for each in present if own[each].numel()}
    return {each for each, tensor in own.items() if _memory(tensor) in memory}


def _memory(tensor: Tensor) -> tuple[int, torch.Size, tuple[int, ...]]:
    return tensor.data_ptr(), tensor.shape, tensor.stride()


def read(path: Path, name: str) -> Stored:
    """Read the tensors of a file: safetensors, or a state dict, possibly nested in dicts, saved by torch.save.

    Raises DataError if it cannot be opened, ConfigError for other content. No objects except tensors and plain values
    are created.
    """
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as error:
        raise DataError(f"{FIELD}: {name}: {error.strerror}") from error
    if (other := _another(start)) is not None:
        raise ConfigError(f"{FIELD}: {name}: {other}")
    # Eight bytes of length and then JSON: https://huggingface.co/docs/safetensors
    content = _safetensors(path, name) if start[8:9] == b"{" else _torch(path, name)
    tensors = stored(content)
    if not tensors:
        others = [str(key) for key in content]
        raise ConfigError(f"{FIELD}: {name}: not a state dict: {', '.join(others[:_SHOWN]) or 'it is empty'}")
    return tensors


def _another(start: bytes) -> str | None:
    """Describe a file without weights by its first bytes; return None if it may contain weights."""
    if start.startswith(b"version https://git-lfs"):
        return "a git-lfs pointer, not the file it stands for; run `git lfs pull` where it was cloned"
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page; was it downloaded without logging in?"
    if start.lstrip().startswith(b"{"):
        return "JSON, such as the index of a model in several files; must be one file of weights"
    if start.startswith(b"\x89HDF\r\n"):
        return "HDF5, as Keras writes it; must be a safetensors file, or torch.save(model.state_dict(), ...)"
    return None


def _safetensors(path: Path, name: str) -> Mapping[str, Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            tensors = {each: file.get_tensor(each) for each in file.keys()}  # noqa: SIM118 (it cannot be iterated)
            left_out = file.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        raise ConfigError(f"{FIELD}: {name}: truncated, or not a safetensors file: {error}") from error
    # Of tied tensors save_model stores one and, in the metadata, which one the others equal.
    tied = {each: tensors[kept] for each, kept in left_out.items() if kept in tensors and each not in tensors}
    return tensors | tied


def _torch(path: Path, name: str) -> Mapping[str, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about the pickle protocol, which the error reports
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = _GLOBAL.search(str(error))
        raise ConfigError(
            f"{FIELD}: {name}: holds Python objects{f' ({named[1]})' if named else ''}, which are never unpickled, or "
            "is damaged; must be a safetensors file, or torch.save(model.state_dict(), ...)"
        ) from error
    except Exception as error:  # damaged bytes make zipfile and torch raise nearly anything
        if "TorchScript" in str(error):
            raise ConfigError(
                f"{FIELD}: {name}: a TorchScript program; must be torch.save(torch.jit.load(...).state_dict(), ...)"
            ) from error
        raise ConfigError(f"{FIELD}: {name}: truncated, or neither safetensors nor a file of torch.save's") from error
    if not isinstance(content, Mapping):
        raise ConfigError(f"{FIELD}: {name}: holds a {type(content).__name__}; must be a state dict")
    return content


def _head(network: nn.Module) -> set[str]:
    """Return the names of the parameters of the last layer that has parameters."""
    names = [name for name, _ in network.named_parameters()]
    return {name for name in names if name.rpartition(".")[0] == names[-1].rpartition(".")[0]}


def _fits(own: Tensor, given: Tensor) -> bool:
    return own.shape == given.shape and own.is_floating_point() == given.is_floating_point()


def _behind(found: Found) -> str:
    return f" (prefix {found.prefix!r})" if found.prefix else ""


def _some(texts: list[str], between: str = ", ") -> str:
    more = f"{between}and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return between.join(texts[:_SHOWN]) + more


def _a(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
