"""One series, and its lines of OpenMetrics text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Values: TypeAlias = NDArray[np.float64] | float
"""A value for each scrape, or one for all of them."""


@dataclass(frozen=True)
class Series:
    """The samples of one series, from the scrape at place `first` on, up to the one before `past`."""

    name: str
    labels: Mapping[str, str]
    first: int
    past: int
    values: Values

    def lines(self, window: tuple[int, int], stamps: list[str]) -> str:
        """The lines of the samples within `window`; `stamps` is ` 1790000000\\n` for each scrape there is."""
        first, past = max(self.first, window[0]), min(self.past, window[1])
        if first >= past:
            return ""
        pairs = ",".join(f'{name}="{value}"' for name, value in self.labels.items())
        key = f"{self.name}{{{pairs}}} "
        if isinstance(self.values, float):
            same = key + number(self.values)
            return same + same.join(stamps[first:past])
        figures = map(number, self.values[first - self.first : past - self.first].tolist())
        return "".join([key + figure + stamp for figure, stamp in zip(figures, stamps[first:past], strict=True)])


def number(value: float) -> str:
    """Format a value as an exporter does: whole numbers in full, others to six digits."""
    return str(int(value)) if value.is_integer() else f"{value:.6g}"
