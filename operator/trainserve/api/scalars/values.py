"""Numbers, texts and instants, mostly of statuses: reported values in a form that an API server accepts."""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

TIMESTAMP_PATTERN = r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?(Z|[+-]\d{2}:\d{2})"
MAX_COUNT = 2**31 - 1
"""Upper bound of whole numbers that have no nearer one: what Kubernetes' own int32 fields hold."""


def _instant(value: str) -> str:
    """Refuse anything but an RFC 3339 instant: an API server refuses a whole status for one invalid instant."""
    if not re.fullmatch(TIMESTAMP_PATTERN, value):
        raise ValueError(f"{value!r} is not an instant such as 2026-11-22T16:00:00Z")
    datetime.fromisoformat(value[:19])
    return value


def _not_empty(value: Any) -> Any:
    return None if value == "" else value


def _finite(value: Any) -> Any:
    """Replace NaN and infinities, which JSON does not have, by None."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


Timestamp = Annotated[str, AfterValidator(_instant), Field(json_schema_extra={"format": "date-time"})]
"""An instant as RFC 3339 writes it, in UTC."""
Count = Annotated[int, Field(ge=0, le=2**53 - 1)]
"""A whole number that was reported: readers of JSON lose digits beyond this bound, and an API server refuses what no
int64 holds."""
Text = Annotated[str | None, BeforeValidator(_not_empty)]
"""A text that was reported; an API server 1.20 takes an empty string for null and refuses it."""
Figure = Annotated[float | None, BeforeValidator(_finite)]
"""A measured number; NaN and infinities become None."""
