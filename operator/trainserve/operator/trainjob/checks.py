"""Reasons not to accept a TrainJob: a chain of small pure functions, one subject each; the first that objects is
heard."""

from __future__ import annotations

import json
from typing import Any

from trainserve.api.open_fields import MAX_BYTES
from trainserve.api.support import unsupported
from trainserve.api.trainjob import IMMUTABLE, TrainJobSpec
from trainserve.operator.plan import Object
from trainserve.operator.refusal import Refusal
from trainserve.operator.settings import Settings
from trainserve.operator.specs import InvalidSpec, parse_trainjob
from trainserve.operator.trainjob import unknown_names
from trainserve.operator.trainjob.digests import spec_digests


def first_refusal(job: Object, settings: Settings) -> Refusal | None:
    """The first objection, in the order in which a user would fix them."""
    try:
        spec = parse_trainjob(job)
    except InvalidSpec as error:  # the schema refuses most of it earlier, on servers that can
        return Refusal("Invalid", str(error))
    return (
        _too_long(spec)
        or _not_supported(spec)
        or unknown_names.refuse(spec)
        or _no_place_for_checkpoints(spec, settings)
        or settings.refuse_scrape(spec.pod)
        or _spec_changed(spec, (job.get("status") or {}).get("specDigests"))
    )


def _too_long(spec: TrainJobSpec) -> Refusal | None:
    """Options are handed to a pod, and read by everybody's operator on the way: all together they have a bound."""
    options = [part.options for part in (spec.model, spec.dataset) if part is not None and part.options]
    size = sum(len(json.dumps(each, ensure_ascii=False).encode(errors="replace")) for each in options)
    if size <= MAX_BYTES:
        return None
    named = "spec.model.options and spec.dataset.options"
    return Refusal("Invalid", f"{named}: {size} bytes as JSON together, at most {MAX_BYTES} are allowed")


def _not_supported(spec: TrainJobSpec) -> Refusal | None:
    """The fields that the API has, and that this operator would ignore."""
    problems = unsupported(spec)
    return Refusal("NotSupported", "\n".join(problems)) if problems else None


def _no_place_for_checkpoints(spec: TrainJobSpec, settings: Settings) -> Refusal | None:
    """Checkpoints are files of a mounted volume, which a store in an object store is not."""
    if spec.checkpoint is None or settings.store.is_mounted:
        return None
    return Refusal(
        "NotSupported",
        f"spec.checkpoint: checkpoints are written to the model store's volume, and this operator's store is "
        f"{settings.store.public}; supported now: a store root of pvc:// or file://, or no checkpoint (leave it unset)",
    )


def _spec_changed(spec: TrainJobSpec, started_with: dict[str, Any] | None) -> Refusal | None:
    """A run is one spec: once its first attempt has started, with these digests, only policy may change."""
    if started_with is None:
        return None
    current = spec_digests(spec)
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
