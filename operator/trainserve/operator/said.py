"""What pods say: anybody's code may have written it, so it is checked before anything of it reaches a status."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ValidationError


def read(text: str | bytes) -> dict[str, Any] | None:
    """The JSON object in `text`; None for anything else.

    What is nested too deeply to be read, or holds half a character (a lone surrogate), could not be written down.
    """
    try:
        parsed = json.loads(text)
        json.dumps(parsed, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def shortened(text: str, most: int) -> str:
    """`text`, or its beginning and its end in `most` characters: of a log or a traceback the cause stands last."""
    if len(text) <= most:
        return text
    head, gap = most // 4, " ... "
    return text[:head] + gap + text[head + len(gap) - most :]


def typed(model: type[BaseModel], reported: Any) -> dict[str, Any] | None:
    """What a pod reported, in the form that the status has; None when it is nothing of the kind."""
    if not isinstance(reported, dict) or not reported:
        return None
    try:
        return as_status(model.model_validate(reported))
    except ValidationError:
        return None


def as_status(told: BaseModel) -> dict[str, Any]:
    """In the form that a status has: without what is not known."""
    return told.model_dump(mode="json", by_alias=True, exclude_none=True)
