"""Publishing into an object store: the number is claimed, the files are put, manifest.json last and only if absent.

Object stores rename nothing, so the number is taken by a conditional put of `<version>/claim`; a claim whose publisher
died is a number that no version ever has. The conditional put is fsspec's `pipe_file(mode="create")`: S3 (s3fs), Google
Cloud Storage (gcsfs) and fsspec's memory file system have it. Where a file system lacks it, publishing is refused
rather than done unsafely.
"""

from __future__ import annotations

from trainserve.store.errors import StoreError
from trainserve.store.names import MANIFEST, version
from trainserve.store.places import RemotePlace
from trainserve.store.publication import Publication, by_uid

_CONDITIONAL = ("s3", "s3a", "gs", "gcs", "memory")


def publish(at: RemotePlace, publication: Publication) -> tuple[bytes, bool]:
    """The manifest of the version now there, and whether it was there before. Raises StoreError."""
    protocol = at.fs.protocol if isinstance(at.fs.protocol, str) else at.fs.protocol[0]
    if protocol not in _CONDITIONAL:
        raise StoreError(
            f"cannot publish to {protocol}://: it has no conditional put; use one of s3://, gs:// or a mounted folder"
        )
    try:
        if there := by_uid(at, publication.folder, publication.draft.train_job.uid):
            return there, True
        number = _claim(at, publication.folder)
        folder = f"{publication.folder}/{number}"
        for name, source in publication.files.items():
            at.put(f"{folder}/{name}", source)
        content = publication.manifest(number)
        at.create(f"{folder}/{MANIFEST}", content)
        return content, False
    except OSError as error:
        raise StoreError.of("publish to", at.path(publication.folder), error) from error


def _claim(at: RemotePlace, folder: str) -> int:
    number = 1 + max((version(name) or 0 for name in at.list(folder)), default=0)
    while True:
        try:
            at.create(f"{folder}/{number}/claim", b"")
        except FileExistsError:
            number += 1
        else:
            return number
