"""Publishing into an object store: claim a number, put the files, then manifest.json, only if absent.

Object stores cannot rename, so the number is claimed by a conditional put of `<version>/claim`; the number of a
publisher that died is never used. The conditional put is fsspec's `pipe_file(mode="create")`, supported for S3 (s3fs),
Google Cloud Storage (gcsfs) and fsspec's memory file system. Without it, publishing is refused as unsafe.
"""

from __future__ import annotations

from trainserve.store.errors import StoreError
from trainserve.store.names import MANIFEST
from trainserve.store.places import RemotePlace
from trainserve.store.publication import Placed, Publication, by_uid, expect_a_number
from trainserve.store.survey import survey, told

_CONDITIONAL = ("s3", "s3a", "gs", "gcs", "memory")


def publish(at: RemotePlace, publication: Publication) -> Placed:
    """Publish and return the version. Raises StoreError."""
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
    """Claim `number` or the first free one after it, and return it."""
    while True:
        expect_a_number(number, at.path(folder))
        try:
            at.create(f"{folder}/{number}/claim", b"")
        except FileExistsError:
            number += 1
        else:
            return number
