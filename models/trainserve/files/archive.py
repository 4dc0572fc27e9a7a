"""Safe unpacking of archives: .tar, compressed or not, and .zip. Links and names that leave the folder are refused."""

from __future__ import annotations

import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from trainserve.files.inside import place_for
from trainserve.files.tar import Whole

_CHUNK = 1 << 20


class UnusableArchive(ValueError):
    """An archive that is damaged, or has members that are not allowed; the message names the member."""


@dataclass(frozen=True)
class Bound:
    """The maximum size in bytes of an unpacked archive, and `words` that name this limit in the error message."""

    bytes: int
    words: str


def unpack(
    path: Path,
    folder: Path,
    where: object,
    bound: Bound,
    *,
    empty_folders: bool,
    reserve: Callable[[int], None] = lambda size: None,
    moved: Callable[[int], None] = lambda size: None,
) -> None:
    """Unpack the archive at `path` into the existing `folder`.

    `where` names the archive in messages. `empty_folders`: whether to create members that are folders, too. `reserve`
    is called before each file with the total size in bytes including that file, `moved` after each write with the
    number of bytes written. Raises UnusableArchive, EscapingName, and OSError (only for `folder`).
    """
    written = 0
    for name, content, size in _members(path, where):
        if content is None and not empty_folders:
            continue
        target = place_for(folder, name, where)
        if target.exists() and not (content is None and target.is_dir()):
            raise UnusableArchive(f"{where}: contains {name!r} twice")
        if content is None:
            target.mkdir(exist_ok=True)
            continue
        if written + size > bound.bytes:
            raise UnusableArchive(f"{where}: unpacks to more than {bound.words}")
        reserve(written + size)
        with target.open("xb") as file:
            while chunk := _read(content, where):
                written += len(chunk)
                file.write(chunk)
                moved(len(chunk))


def _members(path: Path, where: object) -> Iterator[tuple[str, IO[bytes] | None, int]]:
    """Yield each member's name, content (None for a folder) and size in bytes. Raises UnusableArchive."""
    read = _zip if path.name.lower().endswith(".zip") else _tar
    members = read(path, where)
    while True:
        try:
            member = next(members, None)
        except (UnusableArchive, MemoryError):
            raise
        except Exception as error:  # damaged bytes make the decompressors raise nearly anything
            raise _damaged(where, error) from None
        if member is None:
            return
        yield member


def _tar(path: Path, where: object) -> Iterator[tuple[str, IO[bytes] | None, int]]:
    with tarfile.open(path, "r:*", tarinfo=Whole) as archive:
        for member in archive:
            if member.isdir():
                if member.name.strip("./"):
                    yield member.name, None, 0
            elif member.isreg():
                yield member.name, archive.extractfile(member), member.size
            else:
                kind = "a link" if member.issym() or member.islnk() else "neither a file nor a folder"
                raise UnusableArchive(f"{where}: {member.name!r} is {kind}; only files and folders are allowed")


def _zip(path: Path, where: object) -> Iterator[tuple[str, IO[bytes] | None, int]]:
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


def _read(content: IO[bytes], where: object) -> bytes:
    try:
        return content.read(_CHUNK)
    except Exception as error:
        raise _damaged(where, error) from None


def _damaged(where: object, error: Exception) -> UnusableArchive:
    return UnusableArchive(f"{where}: truncated, or not an archive: {str(error) or type(error).__name__}")
