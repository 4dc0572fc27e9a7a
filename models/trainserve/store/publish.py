"""Publishing the next version: atomically, and once per TrainJob uid."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trainserve.store import names, publish_local, publish_remote
from trainserve.store.errors import StoreError
from trainserve.store.manifest import Manifest, ManifestDraft, digest
from trainserve.store.names import MANIFEST
from trainserve.store.places import LocalPlace, place
from trainserve.store.publication import Placed, by_uid, prepare
from trainserve.store.read import address
from trainserve.store.survey import survey


@dataclass(frozen=True)
class Published:
    """A published version; `existed`: published before; `bytes`: size of its files.

    `passed_over`: why folders with larger numbers are not versions.
    """

    uri: str
    version: int
    digest: str
    bytes: int
    existed: bool
    manifest: Manifest
    passed_over: tuple[str, ...] = ()


def publish(
    root: str | Path,
    namespace: str,
    model: str,
    files: Mapping[str, Path],
    draft: ManifestDraft,
    public_root: str | None = None,
) -> Published:
    """Publish `files` (name in the version -> local file) as the model's next version.

    A second publish with the same `draft.train_job.uid` changes nothing and returns the existing version. Raises
    StoreError naming the path and the system's error; then no version has appeared and earlier ones are unchanged.
    """
    publication = prepare(namespace, model, files, draft)
    at = place(root)
    if isinstance(at, LocalPlace):
        placed = publish_local.publish(at, publication)
    else:
        placed = publish_remote.publish(at, publication)
    return _published(placed, public_root or str(root))


def expect_writable(root: str | Path, namespace: str, model: str) -> None:
    """Raise StoreError if a version cannot be published there, as far as this shows without writing.

    Checks local folders only: object stores are tried when there is something to publish.
    """
    at = place(root)
    if not isinstance(at, LocalPlace):
        return
    folder = at.root / names.label("namespace", namespace) / names.label("model", model)
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    if not nearest.is_dir():
        raise StoreError.of("publish to", folder, NotADirectoryError(errno.ENOTDIR, ""))
    if not os.access(nearest, os.W_OK | os.X_OK):
        read_only = os.statvfs(nearest).f_flag & os.ST_RDONLY
        raise StoreError.of("publish to", nearest, OSError(errno.EROFS if read_only else errno.EACCES, ""))


def published_by(
    root: str | Path, namespace: str, model: str, uid: str, public_root: str | None = None
) -> Published | None:
    """Return the version that the TrainJob `uid` published under that name, if any. Raises StoreError."""
    at = place(root)
    try:
        folder = f"{names.label('namespace', namespace)}/{names.label('model', model)}"
        placed = by_uid(at, folder, uid, survey(at, folder))
    except OSError as error:
        raise StoreError.of("read", root, error) from error
    return None if placed is None else _published(placed, public_root or str(root))


def _published(placed: Placed, public_root: str) -> Published:
    manifest = Manifest.from_bytes(placed.content, MANIFEST)
    return Published(
        uri=address(public_root, manifest.namespace, manifest.model, manifest.version),
        version=manifest.version,
        digest=digest(placed.content),
        bytes=sum(entry.bytes for entry in manifest.files.values()),
        existed=placed.existed,
        passed_over=placed.passed_over,
        manifest=manifest,
    )
