"""What lies in a model's folder: its versions, and what is passed over because it is none, each with why."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from trainserve.store import names
from trainserve.store.errors import StoreError
from trainserve.store.names import MANIFEST
from trainserve.store.places import Place

_NEAR = 1000
"""A folder that is no version keeps its number from being given again when it lies no further above the newest."""
_OF_ONE_FILE = (errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EIO)
"""Errors of one manifest; any other one is the store's, and says nothing of what lies there."""
_TOLD = 3


class Unreadable(Exception):
    """It is no manifest of the version in whose folder it lies; the message says why."""


@dataclass(frozen=True)
class Found:
    """A published version: its number, its manifest's bytes and the uid of the TrainJob that it names."""

    number: int
    content: bytes
    uid: str | None


@dataclass(frozen=True)
class Survey:
    """Published versions by number, each with the uid of the TrainJob that it names; and whatever else has a number for
    its name, with why it is none."""

    published: dict[int, str | None]
    passed_over: dict[int, str]

    def of_uid(self, uid: str | None) -> int | None:
        """The newest version that the TrainJob `uid` published."""
        numbers = (number for number, found in self.published.items() if found is not None and found == uid)
        return max(numbers, default=None)

    def next(self) -> int:
        """The number after all that are in use. One that is much too large, or the last one, is nobody's next."""
        newest = max((number for number in self.published if number < names.LAST), default=0)
        near = (number for number in self.passed_over if number <= newest + _NEAR)
        return 1 + max(newest, *near, 0)


def survey(at: Place, folder: str) -> Survey:
    """Look at everything in a model's folder. Raises StoreError where the store cannot be read."""
    passed_over: dict[int, str] = {}
    published = {found.number: found.uid for found in newest_first(at, folder, passed_over)}
    return Survey(published, passed_over)


def newest_first(at: Place, folder: str, passed_over: dict[int, str]) -> Iterator[Found]:
    """The versions in a model's folder; what is met on the way and is none goes into `passed_over`.

    Raises StoreError where the store cannot be read.
    """
    try:
        numbers = sorted((number for name in at.list(folder) if (number := names.version(name))), reverse=True)
        for number in numbers:
            try:
                yield read(at, folder, number)
            except Unreadable as error:
                passed_over[number] = str(error)
    except OSError as error:
        raise StoreError.of("list", folder, error) from error


def read(at: Place, folder: str, number: int) -> Found:
    """One version. Raises Unreadable, and OSError where the store cannot be read."""
    path = f"{folder}/{number}/{MANIFEST}"
    try:
        if not at.exists(path):
            raise Unreadable(f"{folder}/{number}: there is no {MANIFEST}")
        content = at.read(path)
    except OSError as error:
        if error.errno not in _OF_ONE_FILE and not isinstance(error, PermissionError | FileNotFoundError):
            raise
        raise Unreadable(str(StoreError.of("read", path, error))) from None
    manifest = _parsed(content)
    said = "/".join(str(manifest.get(name)) for name in ("namespace", "model", "version"))
    if manifest.get("version") is None:
        raise Unreadable(f"{path}: not a manifest")
    if said != f"{folder}/{number}":
        raise Unreadable(f"{path}: the manifest of {said[:200]}")
    job = manifest.get("trainJob")
    uid = job.get("uid") if isinstance(job, dict) else None
    return Found(number, content, uid if isinstance(uid, str) else None)


def told(passed_over: dict[int, str], version: int) -> tuple[str, ...]:
    """In words what lies above a version and is none, the largest number first; of many the first few."""
    words = [passed_over[number] for number in sorted(passed_over, reverse=True) if number > version]
    more = [f"and {len(words) - _TOLD} more"] if len(words) > _TOLD else []
    return (*words[:_TOLD], *more)


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return parsed if isinstance(parsed, dict) else {}
