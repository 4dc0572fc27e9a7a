"""From label values in all usual forms to class numbers and class names. Pure.

Integers that begin at 0 are class numbers. Other values (1..K, strings, booleans, -1 and 1) are sorted, numbered in
that order and kept as names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainserve.models.data.dataset import Targets
from trainserve.models.errors import DataError

_SHOWN = 5
"""Classes named in one line."""


@dataclass(frozen=True)
class Labels:
    """Class numbers of each part, class names, and notes for the user."""

    parts: list[Targets]
    names: list[str]
    notes: tuple[str, ...] = ()


def flat(values: NDArray[Any]) -> NDArray[Any]:
    """Labels (N,) from (N, 1), as in MedMNIST and CIFAR, or one-hot (N, K); other shapes are returned unchanged."""
    if values.ndim != 2:
        return values
    if values.shape[1] == 1:
        return values[:, 0]
    if values.shape[1] > 1 and values.dtype.kind in "iufb" and len(values):
        ones = values == 1
        if (ones | (values == 0)).all() and (ones.sum(axis=1) == 1).all():
            return np.asarray(ones.argmax(axis=1))
    return values


def classes(parts: Sequence[NDArray[Any]], where: Sequence[str], named: Sequence[str] = ()) -> Labels:
    """Class numbers from labels (N,) of each part, the training part first.

    `where`: what errors call each part; `named`: the class names, if known. Raises DataError naming the place of a
    label that is not allowed.
    """
    kinds = {values.dtype.kind for values in parts}
    if kinds & set("US") and not kinds <= set("US"):
        raise DataError(f"{where[0]}: strings in one part and numbers in another; must be the same")
    if kinds <= set("US"):
        return _words([_text(values) for values in parts], where, named)
    for values, place in zip(parts, where, strict=True):
        if values.dtype.kind not in "iub":
            raise DataError(
                f"{place} is {values.dtype}; must be integers or strings in a classification (dataset.task: regression "
                "takes floats)"
            )
    numbers = [values.astype(np.int64) for values in parts]
    if kinds == {"b"}:
        return Labels([*numbers], list(named) or ["False", "True"])
    if named:
        return Labels([*numbers], list(named), _unnegative(numbers, where))
    return _numbers(numbers, where)


def _text(values: NDArray[Any]) -> NDArray[Any]:
    return np.char.decode(values, "utf-8", "replace") if values.dtype.kind == "S" else values


def _words(parts: list[NDArray[Any]], where: Sequence[str], named: Sequence[str]) -> Labels:
    names = list(named) or sorted(set(parts[0].tolist()))
    number = {name: index for index, name in enumerate(names)}
    known = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    for values, place in zip(parts, where, strict=True):
        if strange := sorted(set(values.tolist()) - number.keys()):
            raise DataError(
                f"{place}: {strange[0]!r} is none of the {len(names)} classes of the training part: {known}"
            )
    return Labels([np.array([number[word] for word in values.tolist()], np.int64) for values in parts], names)


def _numbers(parts: list[Targets], where: Sequence[str]) -> Labels:
    together = np.concatenate(parts)
    if not len(together):
        return Labels(parts, [])
    lowest, highest = int(together.min()), int(together.max())
    if lowest == 0:
        if highest >= len(together):
            raise DataError(f"{where[0]}: label {highest} is outside 0..{len(together) - 1} (one class per sample)")
        return Labels(parts, [str(number) for number in range(highest + 1)])
    distinct = np.unique(together)
    if lowest < 0 and distinct.tolist() != [-1, 1]:
        _unnegative(parts, where)
    names = [str(value) for value in distinct]
    shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    note = f"labels do not begin at 0: their {len(names)} values become classes 0..{len(names) - 1}, named {shown}"
    return Labels([np.searchsorted(distinct, values) for values in parts], names, (note,))


def _unnegative(parts: list[Targets], where: Sequence[str]) -> tuple[()]:
    for values, place in zip(parts, where, strict=True):
        if len(values) and values.min() < 0:
            row, label = values.argmin(), values.min()
            raise DataError(f"{place}, row {row}: label {label} is negative; must be 0 or more")
    return ()
