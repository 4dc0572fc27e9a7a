"""The classes of metric definitions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram", "summary"]


@dataclass(frozen=True)
class Metric:
    """One metric: `help` says what it is, on the scrape too; `use` how it is read, and the trap in it."""

    name: str
    """Name as scraped; for a histogram or a summary the name of the family, without `_bucket`, `_sum` and `_count`."""
    kind: Kind
    unit: str
    help: str
    use: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    """Upper bounds of a histogram's buckets; `+Inf` is added to them."""
    only: str = ""
    """Condition under which it exists, if not everywhere, such as `GPU`."""
    since: str = ""
    """For Triton's metrics: the first release that has it, unless all known releases have it."""


@dataclass(frozen=True)
class Group:
    """Metrics of one process that belong together: a section of docs/metrics.md."""

    title: str
    text: str
    """Where they are exported, and facts that hold for all of them."""
    metrics: tuple[Metric, ...]
