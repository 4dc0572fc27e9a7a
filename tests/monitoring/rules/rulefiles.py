"""The chart's rules, and promtool's test cases for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from trainserve.dev.cluster import CHART

FILES = sorted((CHART / "files" / "rules").glob("*.yaml"))
CASES = sorted(Path(__file__).parent.glob("*.test.yaml"))
RUNBOOKS = CHART.parents[1] / "docs" / "runbooks.md"
BASE = "https://github.com/trainserve/trainserve/blob/main/docs/runbooks.md"
"""URL that the chart's template replaces by monitoring.runbooks."""

Rule = Mapping[str, Any]


def rules(kind: str) -> list[Rule]:
    """Return every rule of a kind: `alert` or `record`."""
    groups = (group for path in FILES for group in _read(path)["groups"])
    return [rule for group in groups for rule in group["rules"] if kind in rule]


def cases(kind: str) -> Iterator[Mapping[str, Any]]:
    """Yield every case of a kind from all files: `alert_rule_test` or `promql_expr_test`."""
    for path in CASES:
        for test in _read(path)["tests"]:
            yield from test.get(kind, [])


@cache
def _read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())
