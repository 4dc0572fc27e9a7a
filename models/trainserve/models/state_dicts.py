"""Which tensors of a checkpoint are a network's: found by their names, whatever keys and wrappers stand before them.

People save `{"net": ...}`, Lightning `{"state_dict": {"model....": ...}}`, wrappers (DataParallel, torch.compile, FSDP)
put their own words between; the names behind are the network's own. Where more than one part of a file has them, an
average of the weights goes before the weights, and what a checkpoint usually calls them before any other word. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

_AVERAGES = ("average", "ema", "model_ema", "ema_model", "state_dict_ema", "params_ema", "averaged_model", "swa_model")
_USUAL = ("network", "model", "net", "state_dict", "model_state_dict", "params", "module", "body")
_RANKS = {word: rank for rank, word in enumerate((*_AVERAGES, *_USUAL))}
_WRAPPERS = frozenset(("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"))
"""What DataParallel, torch.compile, FSDP and activation checkpointing put into names, also in the middle."""
_DEEP = 3
"""Dicts within dicts that are looked into."""

Stored = Mapping[str, tuple[str, Tensor]]
"""Dotted names of all tensors in a file, keys of dicts included, to the dict each lies in, and the tensor."""


@dataclass(frozen=True)
class Found:
    """The network's tensors, and others of the same dict, by their names behind `prefix`."""

    prefix: str
    tensors: dict[str, Tensor]


class Ambiguous(Exception):
    """Two parts of the file fit equally well."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(one, other)
        self.prefixes = (one, other)


def stored(content: Mapping[Any, Any]) -> Stored:
    """All tensors of a file, as torch.load or safetensors gives it."""
    return {f"{within}{name}": (within, tensor) for within, name, tensor in _walk(content, "", _DEEP)}


def _walk(content: Mapping[Any, Any], within: str, deep: int) -> Iterator[tuple[str, str, Tensor]]:
    for key, value in content.items():
        if isinstance(value, Tensor):
            yield within, str(key), value
        elif isinstance(value, Mapping) and deep:
            yield from _walk(value, f"{within}{key}.", deep - 1)


def find(file: Stored, own: Mapping[str, Tensor]) -> Found | None:
    """The tensors whose names, behind one prefix, are those of `own`: of most, and of as many as can be in shape.

    None when no name is known. Raises Ambiguous.
    """
    plain = _best(file, own)
    bare = _best(_without_wrappers(file), own)
    if plain is None or (bare is not None and bare[0] > plain[0]):
        return None if bare is None else bare[1]
    return plain[1]


def _best(file: Stored, own: Mapping[str, Tensor]) -> tuple[tuple[int, int], Found] | None:
    names: Counter[str] = Counter()
    shapes: Counter[str] = Counter()
    for name, (_, tensor) in file.items():
        for start in _starts(name):
            if (mine := own.get(name[start:])) is not None:
                names[name[:start]] += 1
                shapes[name[:start]] += mine.shape == tensor.shape
    if not names:
        return None
    first, *others = sorted(names, key=lambda prefix: (-shapes[prefix], -names[prefix], _rank(prefix), len(prefix)))
    found = _behind(file, first, own)
    for other in others:
        same = (shapes[other], names[other], _rank(other)) == (shapes[first], names[first], _rank(first))
        if same and not _equal(found, _behind(file, other, own)):
            raise Ambiguous(first, other)
    return (shapes[first], names[first]), found


def _starts(name: str) -> Iterator[int]:
    """Where a name may begin: at its first letter, and after every dot."""
    yield 0
    at = name.find(".")
    while at >= 0:
        yield at + 1
        at = name.find(".", at + 1)


def _rank(prefix: str) -> list[int]:
    return [_RANKS.get(word, len(_RANKS)) for word in prefix.split(".") if word]


def _behind(file: Stored, prefix: str, own: Mapping[str, Tensor]) -> Found:
    """What begins with `prefix` in the dicts that hold some of the network's names."""
    behind = {name.removeprefix(prefix): part for name, part in file.items() if name.startswith(prefix)}
    dicts = {within for name, (within, _) in behind.items() if name in own}
    return Found(prefix, {name: tensor for name, (within, tensor) in behind.items() if within in dicts})


def _equal(one: Found, other: Found) -> bool:
    """Whether both hold the same memory: one part under two names."""
    return one.tensors.keys() == other.tensors.keys() and all(
        tensor.data_ptr() == other.tensors[name].data_ptr() for name, tensor in one.tensors.items()
    )


def _without_wrappers(file: Stored) -> Stored:
    """What wrappers put into names taken out, wherever it stands."""
    return {".".join(part for part in name.split(".") if part not in _WRAPPERS): at for name, at in file.items()}
