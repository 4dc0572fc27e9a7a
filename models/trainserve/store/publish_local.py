"""Publishing into a local folder: written under a temporary name, synced, and renamed to the version number.

A version appears by a single rename of its folder, which fails if the number is taken (rename(2): ENOTEMPTY), so that
no kill, full disk or concurrent publisher leaves a partial version. A lock per model (flock, released by the kernel
when its holder dies) serialises publishers, so that its holder can delete unfinished folders as those of dead ones.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from trainserve.files import durable
from trainserve.store.errors import StoreError
from trainserve.store.names import MANIFEST
from trainserve.store.places import LocalPlace
from trainserve.store.publication import Placed, Publication, by_uid, expect_a_number
from trainserve.store.survey import survey, told

_UNFINISHED = ".publishing-"


def publish(at: LocalPlace, publication: Publication) -> Placed:
    """Publish and return the version. Raises StoreError."""
    folder = at.root / publication.folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _turn(folder) as alone:
            if alone:
                _clean(folder)
            seen = survey(at, publication.folder)
            if there := by_uid(at, publication.folder, publication.draft.train_job.uid, seen):
                return there
            content, number = _publish(folder, publication, seen.next())
            return Placed(content, False, told(seen.passed_over, number))
    except OSError as error:
        raise StoreError.of("publish to", error.filename or folder, error) from error


@contextlib.contextmanager
def _turn(folder: Path) -> Iterator[bool]:
    """Hold the model's lock. Yields False if the file system has no locks; then the rename alone prevents conflicts."""
    with (folder / ".lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            alone = True
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                raise
            alone = False
        yield alone


def _clean(folder: Path) -> None:
    for leftover in folder.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _publish(folder: Path, publication: Publication, number: int) -> tuple[bytes, int]:
    """Publish under `number` or the first free one after it; returns the manifest's bytes and the number."""
    unfinished = folder / f"{_UNFINISHED}{secrets.token_hex(8)}"
    try:
        unfinished.mkdir()
        for name, source in publication.files.items():
            _copy(source, unfinished / name)
        while True:
            expect_a_number(number, folder)
            content = publication.manifest(number)
            durable.write(unfinished / MANIFEST, content)
            durable.sync(unfinished)
            if durable.appear(unfinished, folder / str(number)):
                break
            number += 1
        for parent in (folder.parent, folder.parent.parent):
            durable.sync(parent)
        return content, number
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as file, target.open("xb") as out:
        try:
            shutil.copyfileobj(file, out, 1 << 20)
            out.flush()
            os.fsync(out.fileno())
        except OSError as error:
            error.filename = error.filename or str(target)
            raise
