"""Durations: a number and one unit, such as 500us, 20ms or 1.5s."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

_SECONDS = {"us": Decimal("1e-6"), "ms": Decimal("1e-3"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3600)}
_NUMBER = r"[0-9]{1,9}(\.[0-9]{1,9})?"
_LONGEST = 32
PATTERN = rf"^{_NUMBER}({'|'.join(_SECONDS)})$"
UP_TO_A_SECOND = (
    "^0*(([0-9]{1,6}([.][0-9]+)?|1000000([.]0+)?)us|([0-9]{1,3}([.][0-9]+)?|1000([.]0+)?)ms|(([.][0-9]+)?|1([.]0+)?)s)$"
)
"""The durations of at most 1s that are written in us, ms or s, in the one form that CEL and Python read alike."""


def _checked(text: str) -> str:
    if len(text) > _LONGEST or not re.fullmatch(PATTERN, text):
        *units, last = _SECONDS
        raise PydanticCustomError("duration", f"must be a number and one of {', '.join(units)} or {last}, such as 20ms")
    return text


Duration = Annotated[
    str, AfterValidator(_checked), WithJsonSchema({"maxLength": _LONGEST, "pattern": PATTERN, "type": "string"})
]
"""A duration as it is written; `seconds` and `microseconds` read it."""
ReportedDelay = Annotated[str, Field(pattern=rf"^{_NUMBER}(us|ms|s)$")]
"""A queue delay as the tuner reports it."""


def seconds(duration: str) -> Decimal:
    """Return the exact number of seconds. Raises ValueError if `duration` is not one number with one unit."""
    if not re.fullmatch(PATTERN, duration):
        raise ValueError(f"{duration!r} is not a duration such as 500us, 20ms or 1.5s")
    number = duration.rstrip("usmh")
    return Decimal(number) * _SECONDS[duration[len(number) :]]


def microseconds(duration: str) -> int:
    """Return the duration in whole microseconds, the unit of Triton's queue delay, rounded up."""
    return int((seconds(duration) * 1_000_000).to_integral_value(rounding="ROUND_CEILING"))
