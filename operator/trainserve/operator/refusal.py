"""Why an object is not accepted."""

from __future__ import annotations

from typing import NamedTuple


class Refusal(NamedTuple):
    """Reason and message of the condition Accepted=False."""

    reason: str
    message: str
