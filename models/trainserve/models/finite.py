"""Numbers for JSON, which has neither NaN nor infinities."""

from __future__ import annotations

import math
from collections.abc import Iterator
from numbers import Integral, Real
from typing import Any


def finite(value: Any) -> Any:
    """`value`, a tree as JSON knows it, with null in the place of what is no finite number; numpy's become Python's."""
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
    """Where in the tree something is a NaN or an infinity: `result.loss`."""
    if isinstance(value, Real) and not math.isfinite(value):
        yield name
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from no_numbers(each, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        for number, each in enumerate(value):
            yield from no_numbers(each, f"{name}.{number}")
