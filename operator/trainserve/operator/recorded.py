"""What a status says, as far as it can be read: whoever may write it may have written what the schema takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from trainserve.api.base import StatusType
from trainserve.operator.plan import Object


def status(owner: Mapping[str, Any], model: type[StatusType]) -> Object:
    """The status in the model's form; an entry of a list, or else a field, that is not of that form is left out."""
    said = owner.get("status")
    kept: Any = dict(said) if isinstance(said, Mapping) else {}
    while True:
        try:
            return model.model_validate(kept).model_dump(mode="json", by_alias=True, exclude_none=True)
        except ValidationError as error:
            for field, wrong in _wrong(error).items():
                known = kept.pop(field, None)
                rest = [each for at, each in enumerate(known) if at not in wrong] if isinstance(known, list) else []
                if wrong and rest:
                    kept[field] = rest


def _wrong(error: ValidationError) -> dict[str, set[int]]:
    """Fields that cannot be read, each with the entries to blame, where it is a list."""
    found: dict[str, set[int]] = {}
    for detail in error.errors(include_url=False, include_context=False, include_input=False):
        field, *inner = detail["loc"]
        found.setdefault(str(field), set()).update(step for step in inner[:1] if isinstance(step, int))
    return found
