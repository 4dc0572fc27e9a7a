"""Whether somebody answers, felt without waiting for the answer: at most one question is under way at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

Verdict = tuple[bool, str]
"""Whether it lives, and what it said, or did not."""


REST = 4
"""How many times as long as the answer took: to be watched costs a fifth of the time."""
SLOW = 1.0


class Pulse:
    """`ask` puts the question and returns the verdict, which takes as long as it takes; it must not raise.

    After an answer that took `SLOW` seconds or more comes a rest, so that being watched does not keep a slow one busy.
    """

    def __init__(self, ask: Callable[[], Verdict]) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._answered: threading.Event | None = None
        self._begun = self._ended = 0.0
        self._verdict: Verdict = (True, "not asked yet")
        self._told = True

    def feel(self, wait: float) -> Verdict:
        """The answer to a question, if it is there within `wait` seconds. Of one that is still under way, alive: its
        own deadline ends it; but who was dead when last asked is so until it answers."""
        with self._lock:
            now = time.monotonic()
            if self._answered is None:
                took = self._ended - self._begun
                resting = self._verdict[0] and took >= SLOW and now - self._ended < REST * took
                if resting or not self._told:  # what came when nobody waited any more
                    self._told = True
                    return self._verdict
                self._answered, self._begun = threading.Event(), now
                threading.Thread(target=self._run, args=(self._answered,), daemon=True).start()
            answered, begun = self._answered, self._begun
        if answered.wait(wait):
            self._told = True
            return self._verdict
        alive, words = self._verdict
        return alive, words if not alive else f"asked {time.monotonic() - begun:.0f} s ago, and has not answered yet"

    def forget(self) -> None:
        """Called when another has taken the place of who was asked: of it nothing is known yet."""
        with self._lock:
            self._verdict, self._told = (True, "not asked yet"), True

    def _run(self, answered: threading.Event) -> None:
        verdict = self._ask()
        with self._lock:
            self._verdict, self._ended, self._answered, self._told = verdict, time.monotonic(), None, False
        answered.set()
