"""What time it is: by the API server's clock, which wrote most instants that are compared with it, not by this node's.

A node's clock may be wrong by hours, or be set while the operator runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


class ServerClock:
    """The API server's clock as the header `Date` of its answers tells it, carried on by the monotonic clock.

    An answer is made between its request and its arrival, and `Date` is in whole seconds: each answer gives two bounds,
    and what was known before is moved as far as they demand.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._ahead: float | None = None
        """Seconds from the monotonic clock to the server's Unix time."""

    def elapsed(self) -> float:
        """The monotonic clock, for `hear`."""
        return self._monotonic()

    def hear(self, date: str, asked: float) -> None:
        """Take in the `Date` of an answer that has just come; `asked` is when its request went out."""
        try:
            said = parsedate_to_datetime(date).timestamp()
        except ValueError:
            return
        least, most = said - self._monotonic(), said + 1.0 - asked
        self._ahead = least if self._ahead is None else min(max(self._ahead, least), most)

    def now(self) -> datetime:
        """This instant, UTC; by this node's clock until there was an answer."""
        if self._ahead is None:
            return datetime.now(UTC)
        return datetime.fromtimestamp(self._ahead + self._monotonic(), UTC)
