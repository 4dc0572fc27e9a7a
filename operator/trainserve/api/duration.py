"""Durations as the API writes them, such as 500us, 20ms or 1.5s. (Quantities: `trainserve.api.quantity`.)"""

from __future__ import annotations

import re
from decimal import Decimal

from trainserve.api.base import DURATION_PATTERN

_SECONDS = {"us": Decimal("1e-6"), "ms": Decimal("1e-3"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3600)}


def seconds(duration: str) -> Decimal:
    """Seconds, exactly; ValueError for anything that is not one number and one unit."""
    if not re.fullmatch(DURATION_PATTERN, duration):
        raise ValueError(f"{duration!r} is not a duration such as 500us, 20ms or 1.5s")
    number = duration.rstrip("usmh")
    return Decimal(number) * _SECONDS[duration[len(number) :]]


def microseconds(duration: str) -> int:
    """Whole microseconds, the unit of Triton's queue delay; a part of one counts as one."""
    return int((seconds(duration) * 1_000_000).to_integral_value(rounding="ROUND_CEILING"))
