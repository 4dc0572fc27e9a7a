"""From an address of a model to its bytes on this disk, checked."""

from __future__ import annotations

from pathlib import Path

from trainserve.serving.servable import Servable


def open_model(address: str) -> Servable:
    """The model at `address`: for now a folder with a fetched version. Raises OSError, StoreError."""
    return Servable.of_version(Path(address))
