"""The queries of the committed boards: they parse, use existing metrics, and treat counters as counters."""

from __future__ import annotations

import json
import re

import promql_parser
import pytest

from tests.monitoring.dashboards.boards import BOARDS, QUERIES, VALUES, known, rules
from tests.monitoring.promql import selectors
from trainserve.api.metrics import METRICS
from trainserve.dev.dashboards import objectives, queries

RATED = re.compile(r"\b(?:rate|increase)\((\w+)")


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: f"{query.board}: {query.title}")
def test_a_query_parses_and_asks_for_metrics_that_exist(query: queries.Query) -> None:
    promql_parser.parse(query.expr)  # raises ValueError, also for type errors
    assert names(query.expr) <= known(), query.expr


def test_rates_are_of_counters() -> None:
    rising = {name for name, metric in METRICS.items() if metric.kind == "counter"} | {
        f"{name}_{part}"
        for name, metric in METRICS.items()
        if metric.kind in ("histogram", "summary")
        for part in ("bucket", "sum", "count")
    }
    for query in QUERIES:
        for name in RATED.findall(query.expr):
            assert name in rising or name.startswith("nv_"), query.expr


def test_a_rate_of_a_raw_metric_has_a_window_that_follows_the_scrape_interval() -> None:
    for query in QUERIES:
        for window in re.findall(r"\brate\([^\[]*\[([^\]]+)\]", query.source):
            assert window in ("$__rate_interval", "$__range"), query.source


def test_variables_resolve_to_labels_of_the_series_that_they_ask_for() -> None:
    asked = [query for query in QUERIES if query.kind == "variable"]
    assert {query.title for query in asked} == {"namespace", "trainjob", "modelserve", "model"}
    for query in asked:
        for name in names(query.expr):
            assert query.label in (*METRICS[name].labels, "namespace", "model"), query


def test_every_board_lets_the_data_source_be_chosen_and_uses_it_everywhere() -> None:
    for board in BOARDS.values():
        first = board["templating"]["list"][0]
        assert (first["name"], first["type"], first["query"]) == ("datasource", "datasource", "prometheus")
        uids = set(re.findall(r'"datasource": {"type": "(\w+)", "uid": "([^"]+)"}', json.dumps(board)))
        assert uids == {("prometheus", "${datasource}")}


def test_every_variable_is_filled_in_and_an_unknown_one_is_an_error() -> None:
    assert all("$" not in query.expr for query in QUERIES)
    assert queries.substituted("$a ${b} ${a:regex}", {"a": "1", "b": "2"}) == "1 2 1"
    with pytest.raises(KeyError, match="c"):
        queries.substituted("$c", VALUES)


def test_the_boards_and_the_alert_rules_hold_services_to_the_same_objectives() -> None:
    recorded = {rule["record"]: rule["expr"].strip() for rule in rules() if "record" in rule}
    assert recorded["trainserve:availability_objective:ratio"] == f"vector({objectives.AVAILABILITY})"
    assert recorded["trainserve:latency_objective:ratio"] == f"vector({1 - objectives.SLOW_BUDGET})"
    assert pytest.approx(1 - objectives.AVAILABILITY) == objectives.ERROR_BUDGET
    burns = [rule["expr"] for rule in rules() if re.search("Burn", rule.get("alert", ""))]
    for times in (objectives.FAST_BURN, objectives.SLOW_BURN):
        assert any(re.search(rf"> {times:g}\b", expr) for expr in burns)


def test_marks_are_put_where_a_value_in_milliseconds_says() -> None:
    marks = [mark for board in BOARDS.values() for mark in board.get("annotations", {}).get("list", [])]
    assert {mark["name"] for mark in marks} == {"Attempt ended", "Rollout", "Verified"}
    for mark in marks:
        assert mark["useValueForTime"] is True
        assert mark["target"]["expr"].endswith("* 1000")


def names(expr: str) -> set[str]:
    """Return the names of the metrics that an expression uses."""
    found = set()
    for selector in selectors(expr):
        if selector.name is not None:
            found.add(selector.name)
            continue
        (pattern,) = (matcher.value for matcher in selector.matchers.matchers if matcher.name == "__name__")
        found |= {name for name in known() if re.fullmatch(pattern, name)}
    return found
