"""Copies files from an origin: goes on where it stopped, tries again, and believes nothing but the sha256."""

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
"""Times in a row that nothing arrived, after which it is given up: seven seconds of pauses."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 10.0
_CHUNK = 1 << 20

Moved = Callable[[int, int | None], None]
"""Told how many bytes of the file are here, and how many it has where that is known."""
Pause = Callable[[float], None]
_Answer = TypeVar("_Answer")


class Patient:
    """An origin whose small answers are asked for again when a fault may pass."""

    def __init__(self, origin: Origin, pause: Pause = time.sleep) -> None:
        self.origin, self._pause = origin, pause

    def stat(self, name: str) -> Stat:
        """See Origin."""
        return self._ask(self.origin.where(name), lambda: self.origin.stat(name))

    def read(self, name: str) -> bytes:
        """A small file as a whole."""
        return self._ask(self.origin.where(name), lambda: origins.read(self.origin, name))

    def names(self) -> list[str]:
        """See Origin."""
        return self._ask(self.origin.where(""), self.origin.names)

    def _ask(self, where: str, question: Callable[[], _Answer]) -> _Answer:
        pauses = _pauses()
        while True:
            try:
                return question()
            except TransferFault as fault:
                _wait(pauses, self._pause, where, fault)


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
    """Makes `target` the file `name` and returns its sha256 in hex.

    What `target` holds of it already (a process was killed, a connection cut) is kept when the origin says that the
    file has not changed since, or when `sha256` will tell. Raises DigestMismatch, FileNotFoundError, StoreError, and
    OSError for `target` alone.
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
            afresh = True  # what was there before may have been of something else


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
