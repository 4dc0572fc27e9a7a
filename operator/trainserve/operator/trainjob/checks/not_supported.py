"""The API has the field, but this operator does not act on it yet: it says so rather than ignore it."""

from __future__ import annotations

from trainserve.api.support import unsupported
from trainserve.api.validate import parse_trainjob
from trainserve.operator.plan import Object
from trainserve.operator.refusal import Refusal
from trainserve.operator.settings import Settings


def check(job: Object, settings: Settings) -> Refusal | None:
    """Object with the fields that would be ignored."""
    problems = unsupported(parse_trainjob(job))
    return Refusal("NotSupported", "\n".join(problems)) if problems else None
