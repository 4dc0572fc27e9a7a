"""The queries of a written board as Grafana would send them, with variables and intervals substituted.

They serve the tests against a live Prometheus, the preview and the benchmark, which thus run the committed queries.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Kind = Literal["panel", "variable", "annotation"]
_VARIABLE = re.compile(r"\$\{(\w+)(?::\w+)?\}|\$(\w+)")
_LABEL_VALUES = re.compile(r"label_values\((?P<selector>.+), *(?P<label>\w+)\)")
INTERVALS = {"__rate_interval": "1m", "__interval": "15s", "__range": "1h", "__range_s": "3600"}
"""Values of Grafana's built-in variables for one hour on a screen's width and a scrape interval of 15 seconds."""


@dataclass(frozen=True)
class Query:
    """One query. `title` is the panel's, the variable's or the annotation's."""

    board: str
    """The dashboard's uid."""
    title: str
    kind: Kind
    expr: str
    """PromQL; for a variable, the series whose label `label` provides its values."""
    instant: bool = False
    """Whether the panel queries the current value only, not the whole range."""
    label: str = ""
    source: str = ""
    """The query as written in the file."""


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the written boards by uid."""
    boards = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    return {board["uid"]: board for board in boards}


def panels(board: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the panels of a board, including those inside collapsed rows, but not the rows themselves."""
    for panel in board["panels"]:
        if panel["type"] == "row":
            yield from panel.get("panels") or []
        else:
            yield panel


def queries(board: Mapping[str, Any], values: Mapping[str, str]) -> Iterator[Query]:
    """Yield all queries of a board. `values` are the values of its variables, and override those of `INTERVALS`."""
    filled = {**INTERVALS, **values}
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            yield _of_variable(board, variable, filled)
    for marks in board.get("annotations", {}).get("list", []):
        expr = marks["target"]["expr"]
        yield Query(board["uid"], marks["name"], "annotation", substituted(expr, filled), source=expr)
    for panel in panels(board):
        for target in panel["targets"]:
            expr = target["expr"]
            instant = bool(target.get("instant"))
            yield Query(board["uid"], panel["title"], "panel", substituted(expr, filled), instant, source=expr)


def substituted(text: str, values: Mapping[str, str]) -> str:
    """Return the text with its variables substituted. Raises KeyError for a variable without a value."""
    return _VARIABLE.sub(lambda found: values[found[1] or found[2]], text)


def _of_variable(board: Mapping[str, Any], variable: Mapping[str, Any], values: Mapping[str, str]) -> Query:
    text = variable["definition"]
    found = _LABEL_VALUES.fullmatch(text)
    if found is None:
        raise ValueError(f"{board['uid']}: variable {variable['name']}: not a query for label values: {text}")
    expr = substituted(found["selector"], values)
    return Query(board["uid"], variable["name"], "variable", expr, True, found["label"], text)
