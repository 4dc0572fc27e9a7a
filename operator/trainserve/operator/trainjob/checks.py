"""Checks before a TrainJob is accepted: a chain of small pure functions, of which the first refusal is shown."""

from __future__ import annotations

import json
from collections.abc import Mapping

from trainserve.api.open_fields import MAX_BYTES
from trainserve.api.support import unsupported
from trainserve.api.trainjob import IMMUTABLE, TrainJobSpec
from trainserve.operator.blocked import Refusal
from trainserve.operator.settings import Settings
from trainserve.operator.trainjob import unknown_names
from trainserve.operator.trainjob.digests import spec_digests
from trainserve.operator.trainjob.observed import Observed


def accepted(observed: Observed, settings: Settings) -> TrainJobSpec | Refusal:
    """Return the spec, or the first refusal, in the order in which a user would fix the problems."""
    spec = observed.spec
    if isinstance(spec, Refusal):
        return spec
    return (
        _too_long(spec)
        or _not_supported(spec)
        or unknown_names.refuse(spec)
        or _no_place_for_checkpoints(spec, settings)
        or settings.refuse_scrape(spec.pod)
        or _spec_changed(spec, observed.status.get("specDigests"))
        or spec
    )


def _too_long(spec: TrainJobSpec) -> Refusal | None:
    """Refuse options whose total size is too large: every watcher of the object parses them."""
    options = [part.options for part in (spec.model, spec.dataset) if part is not None and part.options]
    size = sum(len(json.dumps(each, ensure_ascii=False).encode(errors="replace")) for each in options)
    if size <= MAX_BYTES:
        return None
    named = "spec.model.options and spec.dataset.options"
    return Refusal("Invalid", f"{named}: {size} bytes as JSON together, at most {MAX_BYTES} are allowed")


def _not_supported(spec: TrainJobSpec) -> Refusal | None:
    """Refuse fields of the API that this operator would ignore."""
    problems = unsupported(spec)
    return Refusal("NotSupported", "\n".join(problems)) if problems else None


def _no_place_for_checkpoints(spec: TrainJobSpec, settings: Settings) -> Refusal | None:
    """Refuse checkpoints if the store is not a mounted volume, since they are files."""
    if spec.checkpoint is None or settings.store.is_mounted:
        return None
    return Refusal(
        "NotSupported",
        f"spec.checkpoint: checkpoints are written to the model store's volume, and this operator's store is "
        f"{settings.store.public}; supported now: a store root of pvc:// or file://, or no checkpoint (leave it unset)",
    )


def _spec_changed(spec: TrainJobSpec, started_with: Mapping[str, str] | None) -> Refusal | None:
    """Refuse a change of anything but policy since the first attempt, whose spec had the digests `started_with`."""
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
        f"{named}: {IMMUTABLE}. The running attempt continues and no further attempt starts. Restore it, or create "
        "a new TrainJob with the same output.model.",
    )
