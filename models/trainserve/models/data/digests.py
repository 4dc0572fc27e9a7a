"""What a file or a folder is known by: the sha256 of its content, or cheaper, of what the file system says of it."""

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
"""Seconds after which a file that changes once more surely has another modification time."""


def of(path: Path, moved: Callable[[int], None] = lambda _: None) -> str:
    """`sha256:<hex>` of a file's bytes, or of a folder's listing; `moved` is told the bytes that were read."""
    if path.is_dir():
        return of_listing((file.relative_to(path).as_posix(), of(file, moved)) for file in files(path))
    sha256 = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            sha256.update(chunk)
            moved(len(chunk))
    return f"sha256:{sha256.hexdigest()}"


def of_listing(entries: Iterable[tuple[str, str]]) -> str:
    """Of a folder, from the names and digests of its files: what `sha256sum` prints of them all, hashed.

    In a shell: `find * -type f | LC_ALL=C sort | xargs -d '\\n' sha256sum | sha256sum`.
    """
    lines = [f"{digest.removeprefix('sha256:')}  {name}\n" for name, digest in sorted(entries)]
    return f"sha256:{hashlib.sha256(''.join(lines).encode()).hexdigest()}"


def verified(path: Path, digest: str, cache: Cache) -> str:
    """`digest`, when the path has it. Raises DataError otherwise."""
    size = sum(file.stat().st_size for file in (files(path) if path.is_dir() else [path]))
    with cache.watch.task(f"verifying {path}", size, "bytes") as moved:
        found = of(path, moved)
    if found != digest:
        raise DataError(f"{path}: expected {digest}, found {found}")
    return digest


def fingerprint(path: Path) -> str:
    """The same as long as nobody writes to the path; of the content itself while that is only a moment old."""
    statuses = {str(path): path.stat()} if path.is_file() else {file.path: file.stat() for file in _below(str(path))}
    newest = max((status.st_mtime_ns for status in statuses.values()), default=0)
    if time.time_ns() - newest < _SETTLED * 1e9:
        return of(path)
    entries = [[file, status.st_size, status.st_mtime_ns, status.st_ino] for file, status in sorted(statuses.items())]
    return hashlib.sha256(json.dumps(entries).encode()).hexdigest()


def files(folder: Path) -> list[Path]:
    """All below a folder, in the order of their names."""
    return [Path(path) for path in sorted(file.path for file in _below(str(folder)))]


def _below(folder: str) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _below(entry.path)
            elif entry.is_file():
                yield entry
