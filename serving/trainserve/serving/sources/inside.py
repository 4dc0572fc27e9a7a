"""Names inside a model, as paths below its folder."""

from __future__ import annotations

from pathlib import Path

from trainserve import files
from trainserve.api.reasons import Reason
from trainserve.store import StoreError


class EscapingName(StoreError):
    """A name, or a link, that leads out of its folder."""

    reason = Reason.UNSERVABLE_MODEL


def inside(folder: Path, name: str, confined: Path | None = None) -> Path:
    """`folder`/`name`. Raises EscapingName when it is not below `folder`, or is a link out of `confined` (`folder`)."""
    try:
        return files.inside(folder, name, confined)
    except files.EscapingName as error:
        raise EscapingName(str(error)) from None
