"""Size limits for files from others, checked against their headers before memory or disk is allocated for them.

The operator gets the chart's `limits` and passes them to every container that reads such files, as the environment
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
    """Largest unpacked size of a model's archive."""
    dataset: Memory = "100Gi"
    """Largest unpacked size of a data set's archive, or total size of its arrays or columns."""
    picture: int = Field(64_000_000, ge=1)
    """Pixels of one picture: width times height."""

    def bytes(self, name: str) -> int:
        """Return the amount `name` as a number of bytes."""
        return int(quantity.memory(getattr(self, name)))


def current() -> Limits:
    """Return the limits of this process. Raises ValueError that names the variable and what is allowed."""
    return parse(os.environ.get(Variable.LIMITS) or "{}")


@functools.lru_cache
def parse(text: str) -> Limits:
    """Parse limits from a JSON object; those that it does not name keep their defaults. Raises ValueError."""
    try:
        return Limits.model_validate_json(text)
    except ValidationError as error:
        raise ValueError(f"{Variable.LIMITS}={text!r}: {problems_of(error, Limits)[0]}") from None


def told(size: int) -> str:
    """Return a number of bytes as text, in the largest unit that fits into it at least once."""
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size} bytes"
