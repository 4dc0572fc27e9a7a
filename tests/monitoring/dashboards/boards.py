"""Helpers of the dashboard tests: the committed boards, and the metric names that Prometheus knows."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from trainserve.api.metrics import METRICS, triton
from trainserve.dev.dashboards import build, queries

CHART = build.FOLDER.parent
RULES = CHART / "files" / "rules"
GRID = "trainserve:grid_intensity:grams_per_kwh"
"""Rendered by the chart's template if its value is set."""
BOARDS = queries.read(build.FOLDER)
VALUES = {"namespace": "team", "trainjob": "digits", "modelserve": "digits", "model": "digits"}
QUERIES = [query for board in BOARDS.values() for query in queries.queries(board, VALUES)]
PANELS = [(board, panel) for board in BOARDS.values() for panel in queries.panels(board)]
TRITON = [(metric.name, metric.kind) for group in triton.GROUPS for metric in group.metrics]


def rules() -> Iterator[dict[str, Any]]:
    """Yield every rule of the chart's rule files."""
    for path in sorted(RULES.glob("*.yaml")):
        for group in yaml.safe_load(path.read_text())["groups"]:
            yield from group["rules"]


@functools.cache
def known() -> frozenset[str]:
    """Return the names that a query may use: ours, recorded ones, Triton's, DCGM's, Prometheus' own."""
    names = {GRID, "up", "ALERTS"} | {rule["record"] for rule in rules() if "record" in rule}
    for name, kind in [*((metric.name, metric.kind) for metric in METRICS.values()), *TRITON]:
        names.add(name)
        if kind in ("histogram", "summary"):
            names |= {f"{name}_{part}" for part in ("sum", "count", *(["bucket"] if kind == "histogram" else []))}
    return frozenset(names)


def overlaps(positions: Mapping[str, Mapping[str, int]]) -> list[tuple[str, str]]:
    """Return the pairs of rectangles that overlap."""
    names = sorted(positions)
    return [
        (one, other)
        for at, one in enumerate(names)
        for other in names[at + 1 :]
        if _meet(positions[one], positions[other])
    ]


def _meet(one: Mapping[str, int], other: Mapping[str, int]) -> bool:
    across = one["x"] < other["x"] + other["w"] and other["x"] < one["x"] + one["w"]
    return across and one["y"] < other["y"] + other["h"] and other["y"] < one["y"] + one["h"]
