"""Series that the chart's recording rules would have recorded, computed from the rules' own expressions.

Each rule is queried over the whole time with a point every half hour, after the rules on which it depends; between two
points, the recorded series is interpolated linearly. Names, labels and lifetimes are thus those that Prometheus would
have recorded, with the same number of samples as other series, without the 10,000 evaluations of every rule in a week.
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
        """Return whether this rule's expression reads the series that `other` records."""
        return other is not self and re.search(rf"(?<![\w:]){re.escape(other.record)}(?![\w:])", self.expr) is not None


def read(folder: Path) -> list[Rule]:
    """Return the recording rules of the rule files in `folder`."""
    groups = [group for path in sorted(folder.glob("*.yaml")) for group in yaml.safe_load(path.read_text())["groups"]]
    rules = [rule for group in groups for rule in group["rules"] if "record" in rule]
    return [Rule(rule["record"], rule["expr"], rule.get("labels") or {}) for rule in rules]


def levels(rules: Sequence[Rule]) -> list[list[Rule]]:
    """Return the rules in groups, each of which depends only on earlier groups. Raises ValueError for a cycle."""
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
    """Query the rules' values at every point, and write them to `path`; return the number of series."""
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
    """Yield the series written to `path`, interpolated at every scrape between the points."""
    for name, labels, points in json.loads(path.read_text()):
        times = np.asarray([point[0] for point in points])
        values = np.asarray([float(point[1]) for point in points])
        # A series has no points after its job has ended; if points come back, a new stretch begins.
        for stretch in np.split(np.arange(len(times)), np.flatnonzero(np.diff(times) > EVERY) + 1):
            first, past = clock.index(times[stretch[0]]), clock.index(times[stretch[-1]] + EVERY)
            between = clock.times[first:past]
            yield Series(name, labels, first, past, np.interp(between, times[stretch], values[stretch]))
