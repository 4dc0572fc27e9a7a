"""SIGTERM handling: raised at once, while training at the end of a step, and ignored once publishing has begun."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

from trainserve.models.errors import Interrupted


class Interrupt:
    """The run's SIGTERM handler; without `install`, as in library use, it never fires."""

    def __init__(self) -> None:
        self.requested = False
        self._at_once = True

    def install(self) -> None:
        """Install the handler; main thread only."""
        signal.signal(signal.SIGTERM, self._signalled)

    def check(self) -> None:
        """Raise Interrupted if SIGTERM arrived."""
        if self.requested:
            raise Interrupted("SIGTERM: stopped before anything was published")

    def hold(self) -> None:
        """Defer SIGTERM to the next `check` from here on."""
        self._at_once = False

    def release(self) -> None:
        """End `hold`."""
        self._at_once = True
        self.check()

    @contextlib.contextmanager
    def at_checks_only(self) -> Iterator[None]:
        """Inside, SIGTERM is deferred to the next `check`, so that no training step is interrupted.

        After an error it stays deferred: the run is ending, and must still report why.
        """
        self.hold()
        yield
        self.release()

    def too_late(self) -> None:
        """Ignore SIGTERM from here on: the rest is short, and its result must be reported."""
        self.check()
        self.hold()

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        if self._at_once:
            self.check()
