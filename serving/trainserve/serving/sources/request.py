"""A request for a model: its address, its origin, and the required digest, signature and release."""

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
"""Called with a file's name, the bytes that are here, and its size if that is known."""


def silent(name: str, done: int, total: int | None) -> None:
    """Ignore progress."""


@dataclass(frozen=True)
class Request:
    """A model's address, and the requirements that it must meet."""

    address: Address
    origin: Origin
    digest: str | None
    key: PublicKey | None
    server: releases.Release | None
    progress: Progress

    @property
    def patient(self) -> Patient:
        """The origin, with retries after faults that may pass."""
        return Patient(self.origin)

    def check_digest(self, found: str) -> None:
        """Raise DigestMismatch unless `found` is the required digest, if there is one."""
        if self.digest is not None and found != self.digest:
            expected, got = self.digest.removeprefix("sha256:"), found.removeprefix("sha256:")
            raise DigestMismatch(self.address.text, expected, got)

    def check_signature(self, message: bytes, signature: bytes | None) -> None:
        """Raise SignatureRefused unless the signature is by the required key, if there is one."""
        if self.key is not None:
            self.key.verify(message, signature, self.address.text)

    def signature(self, name: str) -> bytes | None:
        """Read the signature at the model's origin; None if there is none, or no key is required."""
        try:
            return self.patient.read(name) if self.key is not None else None
        except FileNotFoundError:
            return None


def origin_of(at: Address) -> Origin:
    """Return the origin for the address's folder, or for the folder of its file."""
    base = at.location if at.kind == "folder" else at.parent
    if at.place == "https":
        return HttpsOrigin(base)
    return ObjectOrigin(base) if at.place == "object" else FolderOrigin(Path(base), at.confined)
