"""A keyed work queue in the manner of client-go: what is due is reconciled, by one worker per key at a time.

`KeyQueue` is the bookkeeping, without clock or tasks; `Workers` runs it on the event loop.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from trainserve.operator.logs import about, text_of

logger = logging.getLogger(__name__)

BACKOFF_BASE = 0.2
BACKOFF_LIMIT = 15.0
RECONCILE_TIMEOUT = 120.0
"""Seconds; far beyond what a healthy reconcile takes, so that a hang becomes an error that is retried."""


class Key(NamedTuple):
    """One object to reconcile."""

    kind: str
    namespace: str
    name: str


@dataclass
class KeyQueue:
    """Which keys are due, which are being worked on, and when others will be.

    Namespaces take turns, so that whoever adds a thousand keys at once keeps nobody else waiting for more than one.
    A key that is added while it is being worked on is dirty: it becomes due again when that work is done. At most one
    wake-up per key is scheduled; adding a key makes it due now and drops the wake-up.
    """

    _ready: dict[str, dict[Key, float]] = field(default_factory=dict)
    """Due keys by namespace, with the time at which they became so, in that order; namespaces in the order of their
    turns."""
    _working: dict[Key, float] = field(default_factory=dict)
    _dirty: dict[Key, float] = field(default_factory=dict)
    _wakeups: dict[Key, float] = field(default_factory=dict)
    _heap: list[tuple[float, Key]] = field(default_factory=list)
    _failures: dict[Key, int] = field(default_factory=dict)

    def add(self, key: Key, now: float) -> None:
        """The key is due now."""
        self._wakeups.pop(key, None)
        if key in self._working:
            self._dirty.setdefault(key, now)
        else:
            self._ready.setdefault(key.namespace, {}).setdefault(key, now)

    def add_after(self, key: Key, delay: float, now: float) -> None:
        """The key is due in `delay` seconds, unless it becomes so earlier."""
        if key in self._ready.get(key.namespace, ()) or key in self._dirty:
            return
        when = now + max(0.0, delay)
        if when < self._wakeups.get(key, float("inf")):
            self._wakeups[key] = when
            heapq.heappush(self._heap, (when, key))

    def add_after_failure(self, key: Key, now: float) -> float:
        """Schedule the next try, later after each failure in a row; answer the delay in seconds."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay = min(BACKOFF_BASE * 2 ** min(failures, 30), BACKOFF_LIMIT)
        self.add_after(key, delay, now)
        return float(delay)

    def forget_failures(self, key: Key) -> None:
        """The key was reconciled: the next failure counts as the first."""
        self._failures.pop(key, None)

    def take(self, now: float) -> Key | None:
        """Hand out the key that has been due longest in the namespace whose turn it is, or None. It is then worked on
        until `done`."""
        self._promote(now)
        if not self._ready:
            return None
        namespace = next(iter(self._ready))
        due = self._ready.pop(namespace)
        key = next(iter(due))
        del due[key]
        if due:
            self._ready[namespace] = due
        self._working[key] = now
        return key

    def done(self, key: Key) -> None:
        """The work on the key ended, well or badly."""
        del self._working[key]
        since = self._dirty.pop(key, None)
        if since is not None:
            self._ready.setdefault(key.namespace, {})[key] = since

    def next_wakeup(self) -> float | None:
        """When the next scheduled key becomes due; None when none is scheduled."""
        while self._heap and self._wakeups.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def oldest_age(self, now: float) -> float:
        """Seconds for which the longest-waiting key has been due or worked on; 0 when there is none. A scrape asks from
        another thread: what is due now may have become so after `now`."""
        ready = [since for due in tuple(self._ready.values()) for since in tuple(due.values())]
        since = min((*ready, *self._working.values(), *self._dirty.values()), default=now)
        return max(0.0, now - since)

    def depth(self) -> int:
        """Keys that are due or worked on."""
        return sum(len(due) for due in tuple(self._ready.values())) + len(self._working)

    def _promote(self, now: float) -> None:
        while (when := self.next_wakeup()) is not None and when <= now:
            _, key = heapq.heappop(self._heap)
            self.add(key, when)


Reconcile = Callable[[Key], Awaitable[float | None]]
"""Brings one object towards its desired state; answers after how many seconds to look again, if at all."""


class Workers:
    """Runs a KeyQueue: `size` keys at once, while `gate` is set."""

    def __init__(self, reconcile: Reconcile, gate: asyncio.Event, size: int = 16) -> None:
        self._reconcile = reconcile
        self._gate = gate
        self._queue = KeyQueue()
        self._changed = asyncio.Event()
        self._size = size
        self._running: set[asyncio.Task[None]] = set()

    def add(self, key: Key) -> None:
        """The key is due now."""
        self._queue.add(key, time.monotonic())
        self._changed.set()

    def oldest_age(self) -> float:
        """Seconds for which the longest-waiting key has been due; 0 while this replica is not the one to act."""
        return self._queue.oldest_age(time.monotonic()) if self._gate.is_set() else 0.0

    def depth(self) -> int:
        """Keys that are due or worked on."""
        return self._queue.depth()

    async def run(self) -> None:
        """Work until cancelled; then what is under way is cancelled too."""
        try:
            while True:
                await self._gate.wait()
                self._changed.clear()
                while len(self._running) < self._size and (key := self._queue.take(time.monotonic())) is not None:
                    task = asyncio.create_task(self._work(key), name=f"reconcile {'/'.join(key)}")
                    self._running.add(task)
                    task.add_done_callback(self._finished)
                await self._wait()
        finally:
            for task in tuple(self._running):
                task.cancel()

    async def _wait(self) -> None:
        # While every worker is busy there is nothing to do with a key that becomes due.
        when = self._queue.next_wakeup() if len(self._running) < self._size else None
        try:
            async with asyncio.timeout(None if when is None else max(0.0, when - time.monotonic())):
                await self._changed.wait()
        except TimeoutError:
            pass

    async def _work(self, key: Key) -> None:
        try:
            async with asyncio.timeout(RECONCILE_TIMEOUT):
                requeue_after = await self._reconcile(key)
        except Exception as error:
            delay = self._queue.add_after_failure(key, time.monotonic())
            logger.warning("%s %s/%s: %s; again in %.1f s", *key, text_of(error), delay, extra=about(*key))
            logger.debug("%s %s/%s: the error in full", *key, exc_info=error, extra=about(*key))
        else:
            self._queue.forget_failures(key)
            if requeue_after is not None:
                self._queue.add_after(key, requeue_after, time.monotonic())
        finally:
            self._queue.done(key)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._changed.set()
