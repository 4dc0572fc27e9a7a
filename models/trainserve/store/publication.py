"""A publication in preparation, before it has a version number."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from trainserve.api.scalars.names import LAST_VERSION
from trainserve.store import names
from trainserve.store.errors import StoreError
from trainserve.store.manifest import FileEntry, Manifest, ManifestDraft
from trainserve.store.names import MANIFEST
from trainserve.store.places import Place
from trainserve.store.survey import Survey, told


@dataclass(frozen=True)
class Publication:
    """A version to be published: files (name in the version -> local file), their digests and the draft manifest."""

    namespace: str
    model: str
    files: Mapping[str, Path]
    entries: Mapping[str, FileEntry]
    draft: ManifestDraft

    @property
    def folder(self) -> str:
        """The model's folder below the root."""
        return f"{self.namespace}/{self.model}"

    def manifest(self, version: int) -> bytes:
        """Return the bytes of manifest.json for this version number."""
        return Manifest(
            **dict(self.draft),
            namespace=self.namespace,
            model=self.model,
            version=version,
            created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            files=dict(self.entries),
        ).to_bytes()


@dataclass(frozen=True)
class Placed:
    """A published version: the bytes of its manifest, whether it existed before, and skipped folders."""

    content: bytes
    existed: bool
    passed_over: tuple[str, ...] = ()


def by_uid(at: Place, folder: str, uid: str | None, seen: Survey) -> Placed | None:
    """Return the version in `seen` that the TrainJob `uid` published, if any. Raises OSError."""
    number = seen.of_uid(uid)
    if number is None:
        return None
    return Placed(at.read(f"{folder}/{number}/{MANIFEST}"), True, told(seen.passed_over, number))


def expect_a_number(number: int, folder: object) -> None:
    """Raise StoreError if `number` exceeds the largest version number."""
    if number > LAST_VERSION:
        raise StoreError(f"cannot publish to {folder}: no number up to {LAST_VERSION} is free")


def prepare(namespace: str, model: str, files: Mapping[str, Path], draft: ManifestDraft) -> Publication:
    """Check the names and compute the files' digests. Raises StoreError."""
    names.label("namespace", namespace)
    names.label("model", model)
    if MANIFEST in files:
        raise StoreError(f"file name: {MANIFEST!r} is not allowed; the store writes it")
    return Publication(namespace, model, files, {names.file(name): _entry(path) for name, path in files.items()}, draft)


def _entry(path: Path) -> FileEntry:
    try:
        with path.open("rb") as file:
            return FileEntry(sha256=hashlib.file_digest(file, "sha256").hexdigest(), bytes=path.stat().st_size)
    except OSError as error:
        raise StoreError.of("read", path, error) from error
