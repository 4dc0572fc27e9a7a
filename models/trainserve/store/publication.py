"""What is about to be published, before it has a number."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from trainserve.store import names
from trainserve.store.errors import StoreError
from trainserve.store.manifest import FileEntry, Manifest, ManifestDraft
from trainserve.store.names import MANIFEST
from trainserve.store.places import Place
from trainserve.store.read import published


@dataclass(frozen=True)
class Publication:
    """One version to be: its files (name in the version -> local file), their digests, and all its manifest says."""

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
        """manifest.json as it will be under this number."""
        return Manifest(
            **dict(self.draft),
            namespace=self.namespace,
            model=self.model,
            version=version,
            created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            files=dict(self.entries),
        ).to_bytes()


def by_uid(at: Place, folder: str, uid: str | None) -> bytes | None:
    """The manifest of the version in a model's folder that the TrainJob `uid` published, if any."""
    if uid is None:
        return None
    for version in reversed(published(at, folder)):
        content = at.read(f"{folder}/{version}/{MANIFEST}")
        if _uid(content) == uid:
            return content
    return None


def prepare(namespace: str, model: str, files: Mapping[str, Path], draft: ManifestDraft) -> Publication:
    """Check the names and take the files' digests. Raises StoreError."""
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


def _uid(manifest: bytes) -> str | None:
    """The TrainJob's uid in a manifest; None for one that cannot be read: it does not keep the next from appearing."""
    try:
        uid: str | None = json.loads(manifest)["trainJob"]["uid"]
    except (ValueError, KeyError, TypeError):
        return None
    return uid
