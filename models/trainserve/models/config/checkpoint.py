"""`checkpoint`: when the state of a run is saved, and where. Without the section nothing is."""

from __future__ import annotations

from pydantic import Field

from trainserve.models.config.base import Section


class Checkpoint(Section):
    """A new attempt with the same `folder` goes on from the newest; `keep` of them are kept."""

    folder: str = Field(min_length=1)
    every_epochs: int = Field(1, ge=1, le=2**31 - 1)
    keep: int = Field(2, ge=1, le=2**31 - 1)
