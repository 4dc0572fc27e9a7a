"""SIGTERM: raised at once, at a step's end while training, and too late once publishing has begun."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

from trainserve.models.errors import Interrupted


class Interrupt:
    """One per run. Without `install` (in a library's use) it never fires."""

    def __init__(self) -> None:
        self.requested = False
        self._at_once = True

    def install(self) -> None:
        """Listen to SIGTERM; main thread only."""
        signal.signal(signal.SIGTERM, self._signalled)

    def check(self) -> None:
        """Raise Interrupted when it was asked for."""
        if self.requested:
            raise Interrupted("SIGTERM: stopped before anything was published")

    def hold(self) -> None:
        """From here on SIGTERM waits for the next `check`."""
        self._at_once = False

    def release(self) -> None:
        """End `hold`."""
        self._at_once = True
        self.check()

    @contextlib.contextmanager
    def at_checks_only(self) -> Iterator[None]:
        """Inside, SIGTERM waits for the next `check`: a training step is never torn.

        After an error it goes on waiting: the run is ending, and must still say why.
        """
        self.hold()
        yield
        self.release()

    def too_late(self) -> None:
        """From here on SIGTERM is ignored: what remains takes a moment, and its result must be reported."""
        self.check()
        self.hold()

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        if self._at_once:
            self.check()
