"""The points in time at which the made-up targets were scraped."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

BLOCK = 18 * 3600
"""Seconds of a block: what Prometheus compacts to within the 15 days that it keeps by default."""
END = 27_700 * BLOCK
"""Now, in Unix seconds (November 2026): blocks begin at multiples of their length."""
HOUR, DAY = 3600, 86_400


@dataclass(frozen=True)
class Clock:
    """Scrapes every `coarse` seconds, and every `fine` seconds in the last `recent` ones."""

    seconds: int
    """Time from the first scrape until now."""
    coarse: int = 60
    fine: int = 15
    recent: int = 6 * HOUR
    end: int = field(default=END, init=False)

    @property
    def start(self) -> int:
        """The first scrape."""
        return self.end - self.seconds

    @cached_property
    def times(self) -> NDArray[np.int64]:
        """Return the times of all scrapes, ascending, in Unix seconds."""
        turn = self.end - self.recent
        return np.concatenate([np.arange(self.start, turn, self.coarse), np.arange(turn, self.end, self.fine)])

    def index(self, when: float) -> int:
        """The place of the first scrape at or after `when`."""
        return int(np.searchsorted(self.times, when))

    def windows(self) -> list[tuple[int, int]]:
        """The places of the scrapes of each block: first, and one past the last."""
        edges = range(self.start // BLOCK * BLOCK, self.end + 1, BLOCK)
        places = [self.index(edge) for edge in edges]
        return [(first, past) for first, past in pairwise(places) if first < past]
