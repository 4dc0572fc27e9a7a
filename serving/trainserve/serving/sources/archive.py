"""Unpacks .tar, compressed or not, and .zip. What is in them cannot leave its folder, and nothing is a link."""

from __future__ import annotations

import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from trainserve.api import limits
from trainserve.serving.sources.inside import inside
from trainserve.store import StoreError
from trainserve.store.tar import Whole

_CHUNK = 1 << 20


class UnusableArchive(StoreError):
    """Damaged, or with members that are not allowed; the message names the member."""

    reason = "UnservableModel"


def unpack(path: Path, folder: Path, where: str, reserve: Callable[[int], None]) -> None:
    """Makes `folder` what is in the archive; `reserve` is told how many bytes that will be before they are written.

    `where` is what messages call the archive. Raises UnusableArchive, EscapingName, OSError for `folder` alone.
    """
    written, most = 0, limits.current().bytes("version")
    folder.mkdir(parents=True)
    for name, content, size in _members(path, where):
        target = inside(folder, name)
        if content is None:
            target.mkdir(parents=True, exist_ok=True)
            continue
        if target.exists():
            raise UnusableArchive(f"{where}: {name!r} is in it twice")
        if written + size > most:
            raise UnusableArchive(
                f"{where}: unpacks to more than {limits.told(most)}, all that is allowed (the chart's limits.version)"
            )
        reserve(written + size)
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            while chunk := _read(content, where):
                written += len(chunk)
                file.write(chunk)


def _members(path: Path, where: str) -> Iterator[tuple[str, IO[bytes] | None, int]]:
    """Name, content and size of each; a folder has no content."""
    read = _zip if path.name.lower().endswith(".zip") else _tar
    members = read(path, where)
    while True:
        try:
            member = next(members, None)
        except (StoreError, MemoryError):
            raise
        except Exception as error:  # damaged bytes make the decompressors raise nearly anything
            raise _damaged(where, error) from None
        if member is None:
            return
        yield member


def _tar(path: Path, where: str) -> Iterator[tuple[str, IO[bytes] | None, int]]:
    with tarfile.open(path, "r:*", tarinfo=Whole) as archive:
        for member in archive:
            if member.isdir():
                if member.name.strip("./"):
                    yield member.name, None, 0
            elif member.isreg():
                yield member.name, archive.extractfile(member), member.size
            else:
                kind = "a link" if member.issym() or member.islnk() else "no file"
                raise UnusableArchive(f"{where}: {member.name!r} is {kind}; only files and folders are allowed")


def _zip(path: Path, where: str) -> Iterator[tuple[str, IO[bytes] | None, int]]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise UnusableArchive(f"{where}: {info.filename!r} is a link; only files and folders are allowed")
            if info.is_dir():
                yield info.filename, None, 0
            else:
                with archive.open(info) as content:
                    yield info.filename, content, info.file_size


def _read(content: IO[bytes], where: str) -> bytes:
    try:
        return content.read(_CHUNK)
    except Exception as error:
        raise _damaged(where, error) from None


def _damaged(where: str, error: Exception) -> UnusableArchive:
    return UnusableArchive(f"{where}: cut off, or not an archive: {error or type(error).__name__}")
