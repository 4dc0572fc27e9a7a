"""Archives of an image folder: .tar, compressed or not, and .zip. What is in them cannot leave its folder."""

from __future__ import annotations

import contextlib
import tarfile
import zipfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import IO

from trainserve.api import limits
from trainserve.models.data.cache import Cache
from trainserve.models.data.inside import inside
from trainserve.models.errors import DataError
from trainserve.store.tar import Whole

_CHUNK = 1 << 20


def unpacked(path: Path, digest: str, cache: Cache) -> Path:
    """The folder in the cache that holds the archive's files. Raises DataError naming the archive and the member."""
    return cache.get(f"unpacked-{digest.removeprefix('sha256:')}", lambda room: _unpack(path, room, cache))


def _unpack(path: Path, room: Path, cache: Cache) -> None:
    members = _zip(path) if path.suffix.lower() == ".zip" else _tar(path)
    most, left = limits.current().bytes("dataset"), limits.current().bytes("dataset")
    with contextlib.closing(members), cache.watch.task(f"unpacking {path.name}", None, "bytes") as moved:
        for name, size, content in members:
            left -= size
            if left < 0:
                allowed = f"{limits.told(most)}, all that is allowed (the chart's limits.dataset)"
                raise DataError(f"{path}: unpacks to more than {allowed}")
            target = inside(room, name, str(path))
            if target.exists():
                raise DataError(f"{path}: {name!r} is in it twice")
            with target.open("xb") as file:
                while chunk := _read(path, content):
                    file.write(chunk)
                    moved(len(chunk))


def _tar(path: Path) -> Generator[tuple[str, int, IO[bytes]]]:
    with _errors(path):
        archive = tarfile.open(path, "r:*", tarinfo=Whole)  # noqa: SIM115 (its errors are not those of its reading)
    with archive:
        while (member := _next(path, archive)) is not None:
            if member.isdir():
                continue
            if not member.isfile():
                raise DataError(f"{path}: {member.name!r} is neither a file nor a folder; nothing else is allowed")
            content = archive.extractfile(member)
            assert content is not None
            yield member.name, member.size, content


def _next(path: Path, archive: tarfile.TarFile) -> tarfile.TarInfo | None:
    with _errors(path):
        return archive.next()


def _zip(path: Path) -> Generator[tuple[str, int, IO[bytes]]]:
    with _errors(path):
        archive = zipfile.ZipFile(path)
    with archive:
        for info in archive.infolist():
            if info.is_dir():
                continue
            with _errors(path):
                content = archive.open(info)
            with content:
                yield info.filename, info.file_size, content


def _read(path: Path, content: IO[bytes]) -> bytes:
    with _errors(path):
        return content.read(_CHUNK)


@contextlib.contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # Damaged bytes make the decompressors raise nearly anything.
        raise DataError(f"{path}: truncated, or not an archive: {error or type(error).__name__}") from None
