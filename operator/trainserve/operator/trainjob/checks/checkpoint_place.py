"""Checkpoints are files of a mounted volume, which a store in an object store is not."""

from __future__ import annotations

from trainserve.api.validate import parse_trainjob
from trainserve.operator.plan import Object
from trainserve.operator.refusal import Refusal
from trainserve.operator.settings import Settings


def check(job: Object, settings: Settings) -> Refusal | None:
    """Object to checkpoints that would have no place."""
    if parse_trainjob(job).checkpoint is None or settings.store.is_mounted:
        return None
    return Refusal(
        "NotSupported",
        f"spec.checkpoint: checkpoints are written to the model store's volume, and this operator's store is "
        f"{settings.store.public}; supported now: a store root of pvc:// or file://, or no checkpoint (leave it unset)",
    )
