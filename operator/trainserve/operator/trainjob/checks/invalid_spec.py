"""The spec does not hold what the API allows. The schema refuses most of it earlier, on servers that can."""

from __future__ import annotations

from trainserve.api.validate import InvalidSpec, parse_trainjob
from trainserve.operator.plan import Object
from trainserve.operator.refusal import Refusal
from trainserve.operator.settings import Settings


def check(job: Object, settings: Settings) -> Refusal | None:
    """Object with the field's path, its value and what is allowed."""
    try:
        parse_trainjob(job)
    except InvalidSpec as error:
        return Refusal("Invalid", str(error))
    return None
