"""Kubernetes quantities, such as 500m, 4Gi, .5 or 1e9: cores for cpu, bytes for memory.

Kubernetes' own grammar is in the comment of apimachinery's pkg/api/resource/quantity.go. The only sign allowed here is
`+`, since no field may be negative.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from decimal import Context, Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

PATTERN = (
    r"^[+]?([0-9]+([.][0-9]*)?|[.][0-9]+)(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][-+]?[0-9]+)?$"  # 1E is exa, 1E0 is 1
)
MOST = Decimal(2**63 - 1)
"""Bytes, and thousandths of a core, that Kubernetes counts up to: it caps, rounds or overflows beyond."""
LEAST = Decimal("1e-9")
_TENS = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_TWOS = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_EXPONENT = 100
"""As good as any larger one: the number is then far above or below all that counts."""


class InvalidQuantity(ValueError):
    """The text is no quantity that can be meant; the message says what it must be."""


def value(quantity: str) -> Decimal:
    """Return the exact value; an exponent beyond 100 is treated as 100. Raises InvalidQuantity."""
    found = re.fullmatch(PATTERN, quantity)
    if found is None:
        if re.fullmatch(PATTERN, quantity.removeprefix("-")) and quantity.startswith("-"):
            raise InvalidQuantity("must not be negative")
        raise InvalidQuantity(
            "must be a quantity as in a Pod: a number, then nothing, one of n u m k M G T P E Ki Mi Gi Ti Pi Ei, or an"
            " exponent such as e9"
        )
    number, suffix = Decimal(found[1]), found[3] or ""
    if suffix in _TWOS:
        return Context(prec=len(quantity) + 20).multiply(number, Decimal(2 ** _TWOS[suffix]))
    return _shifted(number, _TENS[suffix] if suffix in _TENS else _exponent(suffix[1:]))


def memory(quantity: str) -> Decimal:
    """Return the number of bytes. Raises InvalidQuantity, also if it is more than Kubernetes can count."""
    return _counted(quantity, value(quantity), "bytes (2^63-1)", MOST)


def cores(quantity: str) -> Decimal:
    """Return the number of cores. Raises InvalidQuantity, also if it is more than Kubernetes can count."""
    return _counted(quantity, value(quantity), "cores (2^63-1 thousandths)", _shifted(MOST, -3))


def _counted(quantity: str, amount: Decimal, unit: str, most: Decimal) -> Decimal:
    if amount > most:
        raise InvalidQuantity(f"must be at most {most} {unit}, which is what Kubernetes can count")
    exponent = amount.as_tuple().exponent
    assert isinstance(exponent, int)
    if 0 < amount < LEAST or (amount == 0 and abs(exponent) >= _EXPONENT):
        # An API server writes these out with all their digits, and may take long over it.
        raise InvalidQuantity("must be 0 or at least 1n, and 0 is written without an exponent")
    return amount


def _shifted(number: Decimal, exponent: int) -> Decimal:
    """Return `number` times ten to the power of `exponent`, without rounding."""
    sign, digits, own = number.as_tuple()
    assert isinstance(own, int)
    return Decimal((sign, digits, own + exponent))


def _exponent(text: str) -> int:
    """Return the exponent after the `e`, limited to 100 in magnitude: Python refuses to parse very long numbers."""
    sign, digits = -1 if text.startswith("-") else 1, text.lstrip("+-").lstrip("0")
    return sign * (_EXPONENT if len(digits) > len(str(_EXPONENT)) else min(int(digits or "0"), _EXPONENT))


def _number_as_text(value: Any) -> Any:
    """Return a number as text, since a manifest may set `cpu: 2` or `cpu: 0.5` as well as `cpu: "2"`, as in a Pod."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return value
    return format(Decimal(repr(value)).normalize(), "f")


def _counts(read: Callable[[str], Decimal]) -> AfterValidator:
    def check(value: str) -> str:
        try:
            read(value)
        except InvalidQuantity as error:
            raise PydanticCustomError("quantity", "{said}", {"said": str(error)}) from None
        return value

    return AfterValidator(check)


_SCHEMA = WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": PATTERN}]})
Memory = Annotated[str, BeforeValidator(_number_as_text), _counts(memory), _SCHEMA]
"""A Kubernetes quantity of bytes, such as 4Gi. A schema cannot bound it; the operator refuses what is too large."""
Cores = Annotated[str, BeforeValidator(_number_as_text), _counts(cores), _SCHEMA]
"""A Kubernetes quantity of cpu, such as 500m."""
