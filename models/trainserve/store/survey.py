"""A survey of a model's folder: its versions, and numbered folders that are not versions, with reasons."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from trainserve.api.scalars.names import LAST_VERSION
from trainserve.store import names
from trainserve.store.errors import StoreError
from trainserve.store.names import MANIFEST
from trainserve.store.places import Place

_NEAR = 1000
"""Numbers of folders that are not versions are not reused up to this distance above the newest version."""
_OF_ONE_FILE = (errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EIO)
"""Errors that concern a single manifest; all others concern the whole store."""
_TOLD = 3


class Unreadable(Exception):
    """The folder is not a version; the message says why."""


@dataclass(frozen=True)
class Found:
    """A published version: its number, the bytes of its manifest and the uid of its TrainJob."""

    number: int
    content: bytes
    uid: str | None


@dataclass(frozen=True)
class Survey:
    """Content of a model's folder.

    `published`: versions by number, each with the uid of its TrainJob; `passed_over`: other numbered folders, each with
    the reason why it is not a version.
    """

    published: dict[int, str | None]
    passed_over: dict[int, str]

    def of_uid(self, uid: str | None) -> int | None:
        """Return the newest version that the TrainJob `uid` published, or None."""
        numbers = (number for number, found in self.published.items() if found is not None and found == uid)
        return max(numbers, default=None)

    def next(self) -> int:
        """Return the next free number, ignoring numbers far above the newest version and the last possible one."""
        newest = max((number for number in self.published if number < LAST_VERSION), default=0)
        near = (number for number in self.passed_over if number <= newest + _NEAR)
        return 1 + max(newest, *near, 0)


def survey(at: Place, folder: str) -> Survey:
    """Survey a model's folder. Raises StoreError if the store cannot be read."""
    passed_over: dict[int, str] = {}
    published = {found.number: found.uid for found in newest_first(at, folder, passed_over)}
    return Survey(published, passed_over)


def newest_first(at: Place, folder: str, passed_over: dict[int, str]) -> Iterator[Found]:
    """Yield the versions in a model's folder, newest first; add the reasons for skipped folders to `passed_over`.

    Raises StoreError if the store cannot be read.
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
    """Read one version. Raises Unreadable, or OSError if the store cannot be read."""
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
    """Return the reasons for skipped folders with numbers above `version`, largest first, at most 3 and a count."""
    words = [passed_over[number] for number in sorted(passed_over, reverse=True) if number > version]
    more = [f"and {len(words) - _TOLD} more"] if len(words) > _TOLD else []
    return (*words[:_TOLD], *more)


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return parsed if isinstance(parsed, dict) else {}
