"""Options are handed to a pod, and read by everybody's operator on the way: all together they have a bound."""

from __future__ import annotations

import json

from trainserve.api.open_fields import MAX_BYTES
from trainserve.api.validate import parse_trainjob
from trainserve.operator.plan import Object
from trainserve.operator.refusal import Refusal
from trainserve.operator.settings import Settings


def check(job: Object, settings: Settings) -> Refusal | None:
    """Object to more of them than that."""
    spec = parse_trainjob(job)
    options = [part.options for part in (spec.model, spec.dataset) if part is not None and part.options]
    size = sum(len(json.dumps(each, ensure_ascii=False).encode(errors="replace")) for each in options)
    if size <= MAX_BYTES:
        return None
    named = "spec.model.options and spec.dataset.options"
    return Refusal("Invalid", f"{named}: {size} bytes as JSON together, at most {MAX_BYTES} are allowed")
