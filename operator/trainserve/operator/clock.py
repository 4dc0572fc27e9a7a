"""The current time by the API server's clock, which wrote most timestamps that are compared with it.

This node's own clock may be wrong by hours, or may be set while the operator runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


class ServerClock:
    """Estimate of the API server's clock from the `Date` header of its responses and the local monotonic clock.

    A response is made between its request and its arrival, and `Date` is in whole seconds, so each response gives a
    lower and an upper bound of the offset. The previous estimate moves only as far as these bounds require.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._ahead: float | None = None
        """Offset of the server's Unix time from the monotonic clock, in seconds; None before the first response."""

    def elapsed(self) -> float:
        """Return the monotonic clock's time in seconds, for `hear`."""
        return self._monotonic()

    def hear(self, date: str, asked: float) -> None:
        """Update the estimate from the `Date` of a response that has just arrived.

        `asked` is the value of `elapsed` when its request was sent. An invalid date is ignored.
        """
        try:
            said = parsedate_to_datetime(date).timestamp()
        except ValueError:
            return
        least, most = said - self._monotonic(), said + 1.0 - asked
        self._ahead = least if self._ahead is None else min(max(self._ahead, least), most)

    def now(self) -> datetime:
        """Return the current time in UTC; by this node's clock until there has been a response."""
        if self._ahead is None:
            return datetime.now(UTC)
        return datetime.fromtimestamp(self._ahead + self._monotonic(), UTC)
