"""Shapes that a user gives for inputs whose axes the model leaves open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

Type = TypeVar("Type")


class WrongShape(ValueError):
    """A shape that the model's input cannot have; the message names the input and what it takes."""


def closed(
    tensors: Sequence[tuple[str, Type, Sequence[int]]], given: Mapping[str, Sequence[int]]
) -> list[tuple[str, Type, Sequence[int]]]:
    """The inputs (name, type, shape; -1 is an axis of any length) with the shapes of `given`. Raises WrongShape."""
    if unknown := sorted(given.keys() - {name for name, *_ in tensors}):
        known = ", ".join(name for name, *_ in tensors)
        raise WrongShape(f"the model has no input {', '.join(unknown)}; its inputs are {known}")
    for name, _, shape in tensors:
        asked = given.get(name, shape)
        if len(asked) != len(shape) or any(-1 != size != each for size, each in zip(shape, asked, strict=True)):
            raise WrongShape(f"input {name}: shape {list(asked)} is not one that it takes, {list(shape)}")
    return [(name, kind, given.get(name, shape)) for name, kind, shape in tensors]
