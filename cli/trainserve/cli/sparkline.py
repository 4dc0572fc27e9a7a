"""Curves drawn in one line of text. Pure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

_LEVELS = "▁▂▃▄▅▆▇█"
_GAP = " "


def sparkline(values: Sequence[float | None], width: int = 40) -> str:
    """Draw `values` in at most `width` characters, each the mean of its part; a part without numbers is a gap."""
    parts = [_mean(part) for part in _parts(values, width)]
    known = [part for part in parts if part is not None]
    if not known:
        return ""
    low, high = min(known), max(known)
    step = (high - low) / (len(_LEVELS) - 1)
    return "".join(_GAP if part is None else _LEVELS[round((part - low) / step) if step else 0] for part in parts)


def _parts(values: Sequence[float | None], width: int) -> list[Sequence[float | None]]:
    count = min(width, len(values))
    edges = [each * len(values) // count for each in range(count + 1)] if count else [0]
    return [values[start:end] for start, end in itertools.pairwise(edges)]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return sum(known) / len(known) if known else None
