"""Find a network's tensors in a checkpoint by their names, behind any keys and wrapper prefixes.

Files hold `{"net": ...}` or, from Lightning, `{"state_dict": {"model....": ...}}`, and wrappers (DataParallel,
torch.compile, FSDP) add prefixes; the rest of a name is the network's. If several parts of a file match, averaged
weights are preferred, then the usual names of weights. Pure.
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
"""Words that DataParallel, torch.compile, FSDP and activation checkpointing insert anywhere in a name."""
_DEEP = 3
"""Depth of nested dicts that are searched."""

Stored = Mapping[str, tuple[str, Tensor]]
"""From the dotted names of all tensors in a file, including keys of dicts, to the enclosing dict and the tensor."""


@dataclass(frozen=True)
class Found:
    """The network's tensors, and others of the same dict, by name without `prefix`."""

    prefix: str
    tensors: dict[str, Tensor]


class Ambiguous(Exception):
    """Two parts of the file match equally well."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(one, other)
        self.prefixes = (one, other)


def stored(content: Mapping[Any, Any]) -> Stored:
    """All tensors in the content of a file, as read by torch.load or safetensors."""
    return {f"{within}{name}": (within, tensor) for within, name, tensor in _walk(content, "", _DEEP)}


def _walk(content: Mapping[Any, Any], within: str, deep: int) -> Iterator[tuple[str, str, Tensor]]:
    for key, value in content.items():
        if isinstance(value, Tensor):
            yield within, str(key), value
        elif isinstance(value, Mapping) and deep:
            yield from _walk(value, f"{within}{key}.", deep - 1)


def find(file: Stored, own: Mapping[str, Tensor]) -> Found | None:
    """The tensors whose names, without one prefix, match `own` best, by number of equal shapes, then of names.

    None if no name matches. Raises Ambiguous.
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
    """Positions where the network's name may begin: 0, and after every dot."""
    yield 0
    at = name.find(".")
    while at >= 0:
        yield at + 1
        at = name.find(".", at + 1)


def _rank(prefix: str) -> list[int]:
    return [_RANKS.get(word, len(_RANKS)) for word in prefix.split(".") if word]


def _behind(file: Stored, prefix: str, own: Mapping[str, Tensor]) -> Found:
    """The tensors whose names begin with `prefix`, in dicts that hold any of the network's names."""
    behind = {name.removeprefix(prefix): part for name, part in file.items() if name.startswith(prefix)}
    dicts = {within for name, (within, _) in behind.items() if name in own}
    return Found(prefix, {name: tensor for name, (within, tensor) in behind.items() if within in dicts})


def _equal(one: Found, other: Found) -> bool:
    """Whether both are the same tensors in memory, under two names."""
    return one.tensors.keys() == other.tensors.keys() and all(
        tensor.data_ptr() == other.tensors[name].data_ptr() for name, tensor in one.tensors.items()
    )


def _without_wrappers(file: Stored) -> Stored:
    """The tensors under names without the words of wrappers."""
    return {".".join(part for part in name.split(".") if part not in _WRAPPERS): at for name, at in file.items()}
