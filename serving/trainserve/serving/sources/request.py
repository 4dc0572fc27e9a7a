"""A request for a model: its address, the origin that it is read from, and what must be true of it there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trainserve.serving.sources import releases
from trainserve.serving.sources.address import Address
from trainserve.serving.sources.download import Patient
from trainserve.serving.sources.https_origin import HttpsOrigin
from trainserve.serving.sources.origins import FolderOrigin, ObjectOrigin, Origin
from trainserve.store import DigestMismatch
from trainserve.store.signing import PublicKey

Progress = Callable[[str, int, int | None], None]
"""Told a file's name, its bytes that are here, and all its bytes where that is known."""


def silent(name: str, done: int, total: int | None) -> None:
    """For whoever watches nothing."""


@dataclass(frozen=True)
class Request:
    """What is asked of a model before it is believed."""

    address: Address
    origin: Origin
    digest: str | None
    key: PublicKey | None
    server: releases.Release | None
    progress: Progress

    @property
    def patient(self) -> Patient:
        """The origin, asked again when a fault may pass."""
        return Patient(self.origin)

    def check_digest(self, found: str) -> None:
        """Raises DigestMismatch unless `found` is what was asked for, if anything was."""
        if self.digest is not None and found != self.digest:
            expected, got = self.digest.removeprefix("sha256:"), found.removeprefix("sha256:")
            raise DigestMismatch(self.address.text, expected, got)

    def check_signature(self, message: bytes, signature: bytes | None) -> None:
        """Raises SignatureRefused unless it is by the key that was asked for, if one was."""
        if self.key is not None:
            self.key.verify(message, signature, self.address.text)

    def signature(self, name: str) -> bytes | None:
        """What lies beside the model where it comes from; None where nothing does, or nobody asks."""
        try:
            return self.patient.read(name) if self.key is not None else None
        except FileNotFoundError:
            return None


def origin_of(at: Address) -> Origin:
    """Of the folder that the address is, or of the one that its file lies in."""
    base = at.location if at.kind == "folder" else at.parent
    if at.place == "https":
        return HttpsOrigin(base)
    return ObjectOrigin(base) if at.place == "object" else FolderOrigin(Path(base), at.confined)
