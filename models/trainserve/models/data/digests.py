"""Identities of files and folders: the sha256 of the content, or, cheaper, of sizes and modification times."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from trainserve.models.data.cache import Cache
from trainserve.models.errors import DataError

_CHUNK = 1 << 20
_SETTLED = 2.0
"""Seconds after which another change of a file certainly changes its modification time."""


def of(path: Path, moved: Callable[[int], None] = lambda _: None) -> str:
    """`sha256:<hex>` of a file's bytes or a folder's listing; `moved` is called with the number of bytes read."""
    if path.is_dir():
        return of_listing((file.relative_to(path).as_posix(), of(file, moved)) for file in files(path))
    sha256 = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            sha256.update(chunk)
            moved(len(chunk))
    return f"sha256:{sha256.hexdigest()}"


def of_listing(entries: Iterable[tuple[str, str]]) -> str:
    """`sha256:<hex>` of a folder, from its files' names and digests: the hash of the output of `sha256sum` over them.

    In a shell: `find * -type f | LC_ALL=C sort | xargs -d '\\n' sha256sum | sha256sum`.
    """
    lines = [f"{digest.removeprefix('sha256:')}  {name}\n" for name, digest in sorted(entries)]
    return f"sha256:{hashlib.sha256(''.join(lines).encode()).hexdigest()}"


def verified(path: Path, digest: str, cache: Cache) -> str:
    """Return `digest` if it is the path's. Raises DataError otherwise."""
    size = sum(file.stat().st_size for file in (files(path) if path.is_dir() else [path]))
    with cache.watch.task(f"verifying {path}", size, "bytes") as moved:
        found = of(path, moved)
    if found != digest:
        raise DataError(f"{path}: expected {digest}, found {found}")
    return digest


def fingerprint(path: Path) -> str:
    """A hash that changes when the path is written to; of the content itself if that changed in the last seconds."""
    statuses = {str(path): path.stat()} if path.is_file() else {file.path: file.stat() for file in _below(str(path))}
    newest = max((status.st_mtime_ns for status in statuses.values()), default=0)
    if time.time_ns() - newest < _SETTLED * 1e9:
        return of(path)
    entries = [[file, status.st_size, status.st_mtime_ns, status.st_ino] for file, status in sorted(statuses.items())]
    return hashlib.sha256(json.dumps(entries).encode()).hexdigest()


def files(folder: Path) -> list[Path]:
    """All files below `folder`, sorted by path."""
    return [Path(path) for path in sorted(file.path for file in _below(str(folder)))]


def _below(folder: str) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _below(entry.path)
            elif entry.is_file():
                yield entry
