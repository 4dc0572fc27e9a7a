"""Numbers for JSON, which has neither NaN nor infinities."""

from __future__ import annotations

import math
from typing import Any


def finite(value: Any) -> Any:
    """`value`, a tree as JSON knows it, with null in the place of what is no finite number."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: finite(each) for name, each in value.items()}
    return [finite(each) for each in value] if isinstance(value, list | tuple) else value
