"""How large may be what somebody else made: read from headers, before memory or disk is taken for it.

The chart's `limits` reach the operator and, through it, every container that reads such files, as the environment
variable TRAINSERVE_LIMITS, a JSON object.
"""

from __future__ import annotations

import functools
import os

from pydantic import Field, ValidationError

from trainserve.api.base import ApiType
from trainserve.api.pod import Variable
from trainserve.api.refusal import problems_of
from trainserve.api.scalars import quantity
from trainserve.api.scalars.quantity import Memory


class Limits(ApiType):
    """Amounts of memory and disk as Kubernetes quantities."""

    samples: Memory = "256Mi"
    """The arrays of a version's samples.npz, or of samples that are given, in all."""
    version: Memory = "20Gi"
    """What a model's archive unpacks to."""
    dataset: Memory = "100Gi"
    """What a data set's archive unpacks to, or its arrays or columns in all."""
    picture: int = Field(64_000_000, ge=1)
    """Pixels of one picture: width times height."""

    def bytes(self, name: str) -> int:
        """One of the amounts as a number."""
        return int(quantity.memory(getattr(self, name)))


def current() -> Limits:
    """Those of this process. Raises ValueError with the variable's name and what is allowed."""
    return parse(os.environ.get(Variable.LIMITS) or "{}")


@functools.lru_cache
def parse(text: str) -> Limits:
    """Those that a JSON object says, the others as they are. Raises ValueError."""
    try:
        return Limits.model_validate_json(text)
    except ValidationError as error:
        raise ValueError(f"{Variable.LIMITS}={text!r}: {problems_of(error, Limits)[0]}") from None


def told(size: int) -> str:
    """A number of bytes for people: in the largest unit of which there is one."""
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size} bytes"
