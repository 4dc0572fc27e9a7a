"""A keyed work queue in the manner of client-go: due keys are reconciled, each by at most one worker at a time.

`KeyQueue` is the bookkeeping, without a clock or tasks; `Workers` runs it on the event loop.
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
"""Seconds; far more than a healthy reconcile takes, so that one that hangs becomes an error and is retried."""


class Key(NamedTuple):
    """Identity of one object to reconcile."""

    kind: str
    namespace: str
    name: str


@dataclass
class KeyQueue:
    """The keys that are due, those in progress, and the times at which others become due. Times are in seconds.

    Namespaces take turns, so that a namespace that adds a thousand keys at once delays each other one by at most one
    key. A key that is added while it is in progress is dirty: it becomes due again when that work is done. At most one
    wake-up per key is scheduled; adding a key makes it due now and drops the wake-up.
    """

    _ready: dict[str, dict[Key, float]] = field(default_factory=dict)
    """Due keys by namespace, with and in the order of the times at which they became due; namespaces in the order of
    their turns."""
    _working: dict[Key, float] = field(default_factory=dict)
    _dirty: dict[Key, float] = field(default_factory=dict)
    _wakeups: dict[Key, float] = field(default_factory=dict)
    _heap: list[tuple[float, Key]] = field(default_factory=list)
    _failures: dict[Key, int] = field(default_factory=dict)

    def add(self, key: Key, now: float) -> None:
        """Make the key due now."""
        self._wakeups.pop(key, None)
        if key in self._working:
            self._dirty.setdefault(key, now)
        else:
            self._ready.setdefault(key.namespace, {}).setdefault(key, now)

    def add_after(self, key: Key, delay: float, now: float) -> None:
        """Make the key due in `delay` seconds, unless it becomes due earlier."""
        if key in self._ready.get(key.namespace, ()) or key in self._dirty:
            return
        when = now + max(0.0, delay)
        if when < self._wakeups.get(key, float("inf")):
            self._wakeups[key] = when
            heapq.heappush(self._heap, (when, key))

    def add_after_failure(self, key: Key, now: float) -> float:
        """Schedule the next try, with a longer delay after each consecutive failure; return the delay in seconds."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay = min(BACKOFF_BASE * 2 ** min(failures, 30), BACKOFF_LIMIT)
        self.add_after(key, delay, now)
        return float(delay)

    def forget_failures(self, key: Key) -> None:
        """Reset the failures of a key after a success, so that the next failure counts as the first."""
        self._failures.pop(key, None)

    def take(self, now: float) -> Key | None:
        """Return the key that has been due longest in the namespace whose turn it is, or None if no key is due.

        The key is in progress until `done`.
        """
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
        """End the work on a key, whether it succeeded or failed."""
        del self._working[key]
        since = self._dirty.pop(key, None)
        if since is not None:
            self._ready.setdefault(key.namespace, {})[key] = since

    def next_wakeup(self) -> float | None:
        """Return the time at which the next scheduled key becomes due, or None if none is scheduled."""
        while self._heap and self._wakeups.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def oldest_age(self, now: float) -> float:
        """Return the seconds for which the longest-waiting key has been due or in progress; 0 if there is none.

        A scrape calls this from another thread, so a key may have become due after `now`.
        """
        ready = [since for due in tuple(self._ready.values()) for since in tuple(due.values())]
        since = min((*ready, *self._working.values(), *self._dirty.values()), default=now)
        return max(0.0, now - since)

    def depth(self) -> int:
        """Return the number of keys that are due or in progress."""
        return sum(len(due) for due in tuple(self._ready.values())) + len(self._working)

    def _promote(self, now: float) -> None:
        while (when := self.next_wakeup()) is not None and when <= now:
            _, key = heapq.heappop(self._heap)
            self.add(key, when)


Reconcile = Callable[[Key], Awaitable[float | None]]
"""Brings one object towards its desired state; returns the seconds until the next reconcile, or None."""


class Workers:
    """Workers of a KeyQueue: reconcile up to `size` keys at once, while `gate` is set."""

    def __init__(self, reconcile: Reconcile, gate: asyncio.Event, size: int = 16) -> None:
        self._reconcile = reconcile
        self._gate = gate
        self._queue = KeyQueue()
        self._changed = asyncio.Event()
        self._size = size
        self._running: set[asyncio.Task[None]] = set()

    def add(self, key: Key) -> None:
        """Make the key due now."""
        self._queue.add(key, time.monotonic())
        self._changed.set()

    def oldest_age(self) -> float:
        """Return the seconds for which the longest-waiting key has been due or in progress; 0 while `gate` is unset."""
        return self._queue.oldest_age(time.monotonic()) if self._gate.is_set() else 0.0

    def depth(self) -> int:
        """Return the number of keys that are due or in progress."""
        return self._queue.depth()

    async def run(self) -> None:
        """Work until cancelled, then cancel the reconciles in progress as well."""
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
        # While every worker is busy, a key that becomes due cannot be started.
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
