"""Container logs: plain files written by the processes, each with a small index of write times.

The index `log.times` holds pairs (size of the log, Unix time): all bytes before that size had been written by that
time. Its resolution is 50 ms, so that its cost does not grow with the log's rate; bytes written while no agent ran get
the time at which the next agent started to watch the log.
"""

import asyncio
import contextlib
import os
import struct
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from asyncinotify import Inotify, Mask, Watch

from trainserve.dev.agent.records import Attempt

ENTRY = struct.Struct("<Qd")
PAUSE_SECONDS = 0.05
BLOCK_BYTES = 1 << 16


@dataclass(frozen=True)
class LogRequest:
    """Options of a request for a log; `since` is a Unix time in seconds."""

    follow: bool = False
    tail_lines: int | None = None
    timestamps: bool = False
    since: float | None = None
    limit_bytes: int | None = None


class LogWatcher:
    """Watches the logs of containers; maintains their indexes and wakes followers."""

    def __init__(self) -> None:
        self._inotify = Inotify()
        self._watches: dict[Path, Watch] = {}
        self._ended: dict[Path, asyncio.Event] = {}
        self._grown: dict[Path, asyncio.Event] = {}
        self._sizes: dict[Path, int] = {}

    async def run(self) -> None:
        """Watch the logs until cancelled."""
        async for event in self._inotify:
            if event.watch is not None and event.mask & Mask.MODIFY:
                path = Path(event.watch.path)
                self._watches.pop(path, None)  # it was a one-shot watch
                self._note(path)
                asyncio.get_running_loop().call_later(PAUSE_SECONDS, self._resume, path)

    def begin(self, attempt: Attempt) -> None:
        """Start watching the log of a running container."""
        path = attempt.log
        if path not in self._ended:
            self._ended[path] = asyncio.Event()
            self._grown[path] = asyncio.Event()
            self._sizes[path] = indexed_size(attempt)
            self._resume(path)

    def end(self, attempt: Attempt) -> None:
        """Stop watching the log of a container that has ended, and wake its followers."""
        path = attempt.log
        if path in self._ended:
            self._note(path)
            self._ended.pop(path).set()
            self._grown.pop(path).set()
            self._sizes.pop(path)
        if watch := self._watches.pop(path, None):
            with contextlib.suppress(OSError, ValueError):
                self._inotify.rm_watch(watch)

    async def more(self, attempt: Attempt, size: int) -> bool:
        """Wait until the log is longer than `size` bytes; return False if the container has ended before."""
        path = attempt.log
        while (grown := self._grown.get(path)) is not None:
            grown.clear()
            if path.stat().st_size > size:
                return True
            await grown.wait()
        return path.stat().st_size > size

    def _resume(self, path: Path) -> None:
        if path in self._ended and path not in self._watches:
            with contextlib.suppress(OSError):
                self._watches[path] = self._inotify.add_watch(path, Mask.MODIFY | Mask.ONESHOT)
                self._note(path)

    def _note(self, path: Path) -> None:
        """Add the log's current size to the index if it has grown."""
        with contextlib.suppress(FileNotFoundError):
            size = path.stat().st_size
            if path in self._sizes and size > self._sizes[path]:
                self._sizes[path] = size
                with path.with_name("log.times").open("ab") as index:
                    index.write(ENTRY.pack(size, time.time()))
                self._grown[path].set()


def read_index(attempt: Attempt) -> list[tuple[int, float]]:
    """Read the index: pairs of a size in bytes and the Unix time by which the log had reached it."""
    try:
        data = attempt.log.with_name("log.times").read_bytes()
    except FileNotFoundError:
        return []
    return list(ENTRY.iter_unpack(data[: len(data) - len(data) % ENTRY.size]))


def indexed_size(attempt: Attempt) -> int:
    """Return the size in bytes of the part of the log that the index covers."""
    return max((size for size, _ in read_index(attempt)), default=0)


def time_at(index: list[tuple[int, float]], offset: int, otherwise: float) -> float:
    """Return the Unix time by which the byte at `offset` had been written, or `otherwise` if it is not indexed."""
    return next((when for size, when in index if size > offset), otherwise)


def offset_since(index: list[tuple[int, float]], since: float) -> int:
    """Return the offset in the log after which every byte was written at `since` (Unix time) or later."""
    return max((size for size, when in index if when < since), default=0)


def tail_offset(path: Path, lines: int) -> int:
    """Return the offset at which the last `lines` lines of a file begin."""
    with path.open("rb") as file:
        position = file.seek(0, os.SEEK_END)
        if lines <= 0 or position == 0:
            return position
        file.seek(position - 1)
        wanted = lines + (file.read(1) == b"\n")
        while position > 0:
            start = max(0, position - BLOCK_BYTES)
            file.seek(start)
            block = file.read(position - start)
            if block.count(b"\n") >= wanted:
                for _ in range(wanted):
                    cut = block.rindex(b"\n")
                    block = block[:cut]
                return start + cut + 1
            wanted -= block.count(b"\n")
            position = start
    return 0


async def read_log(watcher: LogWatcher, attempt: Attempt, request: LogRequest) -> AsyncIterator[bytes]:
    """Yield the requested bytes of the log in blocks; with `follow`, until the container has ended."""
    offset = 0 if request.tail_lines is None else tail_offset(attempt.log, request.tail_lines)
    if request.since is not None:
        offset = max(offset, offset_since(read_index(attempt), request.since))
    left = request.limit_bytes
    rest = b""
    with attempt.log.open("rb") as file:
        file.seek(offset)
        while True:
            block = file.read(BLOCK_BYTES)
            if not block and not (request.follow and await watcher.more(attempt, offset)):
                break
            offset += len(block)
            if request.timestamps:
                *lines, rest = (rest + block).split(b"\n")
                block = _stamp(attempt, lines, offset - len(rest) - sum(len(line) + 1 for line in lines))
            if left is not None:
                block, left = block[:left], left - len(block)
            if block:
                yield block
            if left is not None and left <= 0:
                return
    if rest:
        yield _stamp(attempt, [rest], offset - len(rest))


def _stamp(attempt: Attempt, lines: list[bytes], offset: int) -> bytes:
    """Prefix each of `lines` with the time at which it was written; the first line begins at `offset`."""
    index, now = read_index(attempt), time.time()
    stamped = []
    for line in lines:
        when = datetime.fromtimestamp(time_at(index, offset, now), UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
        stamped.append(when.encode() + b" " + line + b"\n")
        offset += len(line) + 1
    return b"".join(stamped)
