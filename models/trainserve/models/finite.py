"""Numbers for JSON, which has no NaN or infinities."""

from __future__ import annotations

import math
from collections.abc import Iterator
from numbers import Integral, Real
from typing import Any


def finite(value: Any) -> Any:
    """`value`, a JSON tree, with null in place of numbers that are not finite, and numpy's numbers as Python's."""
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, Real):
        if isinstance(value, Integral):
            return int(value)
        return float(value) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: finite(each) for name, each in value.items()}
    return [finite(each) for each in value] if isinstance(value, list | tuple) else value


def no_numbers(value: Any, name: str = "") -> Iterator[str]:
    """Paths in the tree of numbers that are NaN or infinite, such as `result.loss`."""
    if isinstance(value, Real) and not math.isfinite(value):
        yield name
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from no_numbers(each, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        for number, each in enumerate(value):
            yield from no_numbers(each, f"{name}.{number}")
