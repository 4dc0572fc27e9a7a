"""Publishing into an object store: the number is claimed, the files are put, manifest.json last and only if absent.

Object stores rename nothing, so the number is taken by a conditional put of `<version>/claim`; a claim whose publisher
died is a number that no version ever has. The conditional put is fsspec's `pipe_file(mode="create")`: S3 (s3fs), Google
Cloud Storage (gcsfs) and fsspec's memory file system have it. Where a file system lacks it, publishing is refused
rather than done unsafely.
"""

from __future__ import annotations

from trainserve.store.errors import StoreError
from trainserve.store.names import MANIFEST
from trainserve.store.places import RemotePlace
from trainserve.store.publication import Placed, Publication, by_uid, expect_a_number
from trainserve.store.survey import survey, told

_CONDITIONAL = ("s3", "s3a", "gs", "gcs", "memory")


def publish(at: RemotePlace, publication: Publication) -> Placed:
    """The version now there. Raises StoreError."""
    protocol = at.fs.protocol if isinstance(at.fs.protocol, str) else at.fs.protocol[0]
    if protocol not in _CONDITIONAL:
        raise StoreError(
            f"cannot publish to {protocol}://: it has no conditional put; use one of s3://, gs:// or a mounted folder"
        )
    try:
        seen = survey(at, publication.folder)
        if there := by_uid(at, publication.folder, publication.draft.train_job.uid, seen):
            return there
        number = _claim(at, publication.folder, seen.next())
        folder = f"{publication.folder}/{number}"
        for name, source in publication.files.items():
            at.put(f"{folder}/{name}", source)
        content = publication.manifest(number)
        at.create(f"{folder}/{MANIFEST}", content)
        return Placed(content, False, told(seen.passed_over, number))
    except OSError as error:
        raise StoreError.of("publish to", at.path(publication.folder), error) from error


def _claim(at: RemotePlace, folder: str, number: int) -> int:
    """The number, or the first free one after it."""
    while True:
        expect_a_number(number, at.path(folder))
        try:
            at.create(f"{folder}/{number}/claim", b"")
        except FileExistsError:
            number += 1
        else:
            return number
