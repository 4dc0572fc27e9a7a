"""Where the operator tells a Prometheus by annotations where a pod's metrics are, no spec says it otherwise."""

from __future__ import annotations

from trainserve.api.validate import parse_trainjob
from trainserve.operator.plan import Object
from trainserve.operator.refusal import Refusal
from trainserve.operator.settings import Settings


def check(job: Object, settings: Settings) -> Refusal | None:
    """Object to annotations that the operator sets itself."""
    return settings.refuse_scrape(parse_trainjob(job).pod)
