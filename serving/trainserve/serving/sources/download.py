"""Copies of files from an origin, resumed and retried, and verified by their sha256."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from trainserve.serving.sources import origins
from trainserve.serving.sources.origins import Origin, Stat, TransferFault
from trainserve.store import DigestMismatch, StoreError

ATTEMPTS = 6
"""Attempts in a row without a byte before giving up, with pauses of seven seconds in all."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 10.0
_CHUNK = 1 << 20

Moved = Callable[[int, int | None], None]
"""Called with the bytes of the file that are here, and with its size if that is known."""
Pause = Callable[[float], None]
_Answer = TypeVar("_Answer")


class Patient:
    """An origin whose small requests are retried after a fault that may pass."""

    def __init__(self, origin: Origin) -> None:
        self.origin = origin

    def stat(self, name: str) -> Stat:
        """Return size and state of a file."""
        return self._ask(self.origin.where(name), lambda: self.origin.stat(name))

    def read(self, name: str) -> bytes:
        """Read a small file as a whole."""
        return self._ask(self.origin.where(name), lambda: origins.read(self.origin, name))

    def names(self) -> list[str]:
        """List all files, sorted."""
        return self._ask(self.origin.where(""), self.origin.names)

    def _ask(self, where: str, question: Callable[[], _Answer]) -> _Answer:
        pauses = _pauses()
        while True:
            try:
                return question()
            except TransferFault as fault:
                _wait(pauses, time.sleep, where, fault)


def copy(
    origin: Origin,
    name: str,
    target: Path,
    *,
    sha256: str | None = None,
    size: int | None = None,
    moved: Moved = lambda done, total: None,
    pause: Pause = time.sleep,
) -> str:
    """Copy the file `name` to `target`, and return its sha256 in hex.

    Bytes that `target` holds from an interrupted copy are kept if the origin says that the file has not changed, or if
    `sha256` is given to verify the whole. Raises DigestMismatch, FileNotFoundError, StoreError, and OSError for
    `target` alone.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    pauses, afresh = _pauses(), False
    while True:
        before = _size(target)
        try:
            return _attempt(origin, name, target, sha256, size, moved)
        except TransferFault as fault:
            if _size(target) > before:
                pauses = _pauses()
            _wait(pauses, pause, origin.where(name), fault)
        except DigestMismatch:
            target.unlink()
            if afresh or not before:
                raise
            afresh = True  # the bytes of the interrupted copy may have been of another file


def _attempt(origin: Origin, name: str, target: Path, sha256: str | None, size: int | None, moved: Moved) -> str:
    noted = target.with_name(f".{target.name}.state")
    there = _size(target)
    known = noted.read_text() if there and noted.is_file() else None
    seen = hashlib.sha256()
    with target.open("r+b" if there else "w+b") as file:
        while chunk := file.read(_CHUNK):
            seen.update(chunk)
        if sha256 is not None and seen.hexdigest() == sha256:
            noted.unlink(missing_ok=True)
            return sha256
        stream = origin.stream(name, there if known or sha256 else 0, known)
        if stream.start != there:
            file.seek(0)
            file.truncate()
            seen, there = hashlib.sha256(), 0
        if stream.state is not None:
            noted.write_text(stream.state)
        for chunk in stream.chunks:
            file.write(chunk)
            seen.update(chunk)
            there += len(chunk)
            if size is not None and there > size:
                raise StoreError(f"{origin.where(name)}: more than the {size} bytes that its manifest says")
            moved(there, stream.bytes)
    if stream.bytes is not None and there != stream.bytes:
        raise TransferFault(f"cut after {there} of {stream.bytes} bytes")
    if sha256 is not None and seen.hexdigest() != sha256:
        raise DigestMismatch(origin.where(name), sha256, seen.hexdigest())
    noted.unlink(missing_ok=True)
    return seen.hexdigest()


def _pauses() -> Iterator[float]:
    for attempt in range(ATTEMPTS - 1):
        yield min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt) * random.uniform(0.5, 1)  # noqa: S311  no secret


def _wait(pauses: Iterator[float], pause: Pause, where: str, fault: TransferFault) -> None:
    seconds = next(pauses, None)
    if seconds is None:
        raise StoreError(f"cannot read {where}: {fault}; tried {ATTEMPTS} times") from None
    pause(seconds)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
