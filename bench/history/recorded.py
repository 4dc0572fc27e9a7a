"""Series of the chart's recording rules: what they would have recorded, from the rules' own expressions.

Each rule is asked over the whole time, a point every half hour, rules of rules after those that they need; between two
points the recorded series goes straight. So names, labels and lifetimes are those that Prometheus would have recorded,
at the same number of samples as the rest, without the 10,000 evaluations of every rule that a week has.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from bench.history.clock import Clock
from bench.history.series import Series
from bench.history.server import Server

EVERY = 1800
"""Seconds between two points."""


@dataclass(frozen=True)
class Rule:
    """One recording rule."""

    record: str
    expr: str
    labels: Mapping[str, str]

    def needs(self, other: Rule) -> bool:
        """Return whether its expression reads what `other` records."""
        return other is not self and re.search(rf"(?<![\w:]){re.escape(other.record)}(?![\w:])", self.expr) is not None


def read(folder: Path) -> list[Rule]:
    """The recording rules of the rule files in `folder`."""
    groups = [group for path in sorted(folder.glob("*.yaml")) for group in yaml.safe_load(path.read_text())["groups"]]
    rules = [rule for group in groups for rule in group["rules"] if "record" in rule]
    return [Rule(rule["record"], rule["expr"], rule.get("labels") or {}) for rule in rules]


def levels(rules: Sequence[Rule]) -> list[list[Rule]]:
    """The rules in groups, each of which needs only what those before it record. Raises ValueError for a circle."""
    found: list[list[Rule]] = []
    left = list(rules)
    while left:
        ready = [rule for rule in left if not any(rule.needs(other) for other in left)]
        if not ready:
            raise ValueError(f"rules that need one another: {sorted({rule.record for rule in left})}")
        found.append(ready)
        left = [rule for rule in left if rule not in ready]
    return found


def ask(server: Server, rules: Sequence[Rule], clock: Clock, path: Path) -> int:
    """Write what the rules record at every point to `path`; return the number of series."""
    answers = []
    for rule in rules:
        found = server.ask(
            "query_range", query=rule.expr, start=str(clock.start), end=str(clock.end - clock.fine), step=str(EVERY)
        )
        for series in found["result"]:
            kept = {name: value for name, value in series["metric"].items() if name != "__name__"}
            answers.append([rule.record, {**kept, **rule.labels}, series["values"]])
    path.write_text(json.dumps(answers))
    return len(answers)


def series(path: Path, clock: Clock) -> Iterator[Series]:
    """The series of answers in `path`, at every scrape between the points."""
    for name, labels, points in json.loads(path.read_text()):
        times = np.asarray([point[0] for point in points])
        values = np.asarray([float(point[1]) for point in points])
        # A job that is over has no more points; one that comes back begins again.
        for stretch in np.split(np.arange(len(times)), np.flatnonzero(np.diff(times) > EVERY) + 1):
            first, past = clock.index(times[stretch[0]]), clock.index(times[stretch[-1]] + EVERY)
            between = clock.times[first:past]
            yield Series(name, labels, first, past, np.interp(between, times[stretch], values[stretch]))
