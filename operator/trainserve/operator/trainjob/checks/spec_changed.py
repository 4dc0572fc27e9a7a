"""A run is one spec: once its first attempt has started, only policy may change."""

from __future__ import annotations

from trainserve.api.trainjob import IMMUTABLE
from trainserve.api.validate import parse_trainjob
from trainserve.operator.plan import Object
from trainserve.operator.refusal import Refusal
from trainserve.operator.settings import Settings
from trainserve.operator.trainjob.digests import spec_digests


def check(job: Object, settings: Settings) -> Refusal | None:
    """Object when the spec is no longer the one that the first attempt was built from."""
    started_with = (job.get("status") or {}).get("specDigests")
    if started_with is None:
        return None
    current = spec_digests(parse_trainjob(job))
    changed = sorted(
        field for field in current.keys() | started_with.keys() if current.get(field) != started_with.get(field)
    )
    if not changed:
        return None
    named = ", ".join(f"spec.{field}" for field in changed)
    return Refusal(
        "SpecChanged",
        f"{named}: {IMMUTABLE}. What runs goes on as it was and no further attempt starts. Put it back, or train again "
        "as a new TrainJob with the same output.model.",
    )
