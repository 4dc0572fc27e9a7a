"""Liveness checks that do not wait for a slow answer: at most one request is in flight at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

Verdict = tuple[bool, str]
"""Whether the server is alive, and a message."""


REST = 4
"""Pause after a slow answer, as a multiple of its duration: checks then use a fifth of the time."""
SLOW = 1.0
"""Duration of a slow answer, in seconds."""


class Pulse:
    """Calls `ask`, which sends a request and returns the verdict; it may take any time, and must not raise.

    An answer that took `SLOW` seconds or more is followed by a pause, so that checks do not keep a slow server busy.
    """

    def __init__(self, ask: Callable[[], Verdict]) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._answered: threading.Event | None = None
        self._begun = self._ended = 0.0
        self._verdict: Verdict = (True, "not asked yet")
        self._told = True

    def feel(self, wait: float) -> Verdict:
        """Return the verdict of a request if it is there within `wait` seconds, else the last one.

        A request in flight leaves a server alive, because its own timeout ends it; a dead one is dead until it answers.
        """
        with self._lock:
            now = time.monotonic()
            if self._answered is None:
                took = self._ended - self._begun
                resting = self._verdict[0] and took >= SLOW and now - self._ended < REST * took
                if resting or not self._told:  # a verdict that came after the wait was over
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
        """Forget the last verdict: another server has taken the place of the one that was asked."""
        with self._lock:
            self._verdict, self._told = (True, "not asked yet"), True

    def _run(self, answered: threading.Event) -> None:
        verdict = self._ask()
        with self._lock:
            self._verdict, self._ended, self._answered, self._told = verdict, time.monotonic(), None, False
        answered.set()
