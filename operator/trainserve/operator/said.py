"""Parsing of what pods report: untrusted code may have written it, so it is validated before it reaches a status."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel


def read(text: str | bytes) -> dict[str, Any] | None:
    """Return the JSON object in `text`; None for anything else.

    None also stands for an object that could not be written to a status, because it is nested too deeply or contains a
    lone surrogate.
    """
    try:
        parsed = json.loads(text)
        json.dumps(parsed, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def shortened(text: str, most: int) -> str:
    """Return `text`, shortened to its beginning and end if it is longer than `most` characters.

    The end is kept because logs and tracebacks end with the cause.
    """
    if len(text) <= most:
        return text
    head, gap = most // 4, " ... "
    return text[:head] + gap + text[head + len(gap) - most :]


def as_status(told: BaseModel) -> dict[str, Any]:
    """Return the JSON form for a status, without unset fields."""
    return told.model_dump(mode="json", by_alias=True, exclude_none=True)
