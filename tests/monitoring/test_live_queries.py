"""Every query of every board, variable and rule on a live Prometheus, while a TrainJob trains and ModelServes answer.

Alerts are normally silent, so each alert's selectors are queried instead of its expression. A condition that only holds
when something is wrong (a failed phase, a refused write) is dropped, which still checks the metric and its label.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping

import promql_parser
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.cluster.support import wait_for
from tests.monitoring import promql, replay
from tests.monitoring.dashboards.boards import BOARDS, rules
from tests.monitoring.live import Live
from trainserve.dev.dashboards import links, queries
from trainserve.dev.state import SYSTEM_NAMESPACE

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]
PATIENCE = 900.0
"""Seconds after which a query counts as permanently empty."""
CONDITIONS = {"network", "phase", "reason", "result", "code", "outcome", "persistentvolumeclaim"}
"""Labels that alerts restrict to values that exist only when something is wrong, or under another name."""


@pytest.fixture(scope="module", params=["live", "live3"], ids=["Prometheus 2", "Prometheus 3"])
def asked(request: pytest.FixtureRequest) -> Live:
    """Each Prometheus in turn: all queries must yield values on both."""
    found: Live = request.getfixturevalue(request.param)
    return found


def unanswered(live: Live, asked: Mapping[str, str]) -> list[str]:
    """Wait for the queries' series; return the names of those that still have none."""
    left = dict(asked)

    def look() -> bool:
        for name, expr in list(left.items()):
            if live.answers(expr):
                del left[name]
        return not left

    try:
        wait_for(look, PATIENCE, lambda: "")
    except AssertionError:
        return [f"{name}: {asked[name]}" for name in left]
    return []


def values_for(live: Live, uid: str) -> dict[str, str]:
    return {**live.values, **({"namespace": SYSTEM_NAMESPACE} if uid == links.OPERATOR else {})}


@pytest.mark.parametrize("uid", sorted(BOARDS))
def test_every_variable_offers_the_objects_that_there_are(asked: Live, uid: str) -> None:
    values = values_for(asked, uid)
    for query in queries.queries(BOARDS[uid], values):
        if query.kind == "variable":
            assert values[query.title] in asked.labels(query.expr, query.label), query


@pytest.mark.parametrize("uid", sorted(BOARDS))
def test_every_query_of_a_board_has_an_answer(asked: Live, uid: str) -> None:
    board = queries.queries(BOARDS[uid], values_for(asked, uid))
    named = {f"{query.title} [{at}]": query.expr for at, query in enumerate(board)}
    assert unanswered(asked, named) == []


def test_every_recording_rule_has_recorded_something(asked: Live) -> None:
    recorded = {}
    for rule in rules():
        if "record" in rule:
            labels = ",".join(f'{name}="{value}"' for name, value in rule.get("labels", {}).items())
            recorded[f"{rule['record']}{{{labels}}}"] = f"{rule['record']}{{{labels}}}"
    assert unanswered(asked, recorded) == []


def test_everything_that_an_alert_looks_at_is_there(asked: Live) -> None:
    looked_at = {}
    for rule in rules():
        if "alert" in rule:
            for selector in promql.selectors(rule["expr"]):
                looked_at[f"{rule['alert']}: {selector.prettify()}"] = healthy(selector)
    assert unanswered(asked, looked_at) == []


def healthy(selector: promql_parser.VectorSelector) -> str:
    """Return the selector without conditions on faults: such a label must only exist."""
    kept = []
    for matcher in selector.matchers.matchers:
        operator = {"Equal": "=", "NotEqual": "!=", "Re": "=~", "NotRe": "!~"}[str(matcher.op).rpartition(".")[2]]
        text = re.sub(r'(["\\])', r"\\\1", matcher.value)
        kept.append(f'{matcher.name}!=""' if matcher.name in CONDITIONS else f'{matcher.name}{operator}"{text}"')
    return f"{selector.name or ''}{{{','.join(kept)}}}"


def test_prometheus_evaluates_every_rule_without_an_error(asked: Live) -> None:
    groups = asked.get("rules")["groups"]
    told = {rule["name"]: rule.get("lastError", "") for group in groups for rule in group["rules"]}
    assert {rule.get("record") or rule["alert"] for rule in rules()} <= set(told)
    assert {name: error for name, error in told.items() if error} == {}


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="this machine has a GPU of its own")
def test_what_is_replayed_is_exactly_what_this_machine_does_not_have(live: Live) -> None:
    texts = [replay.dcgm("a", "b"), replay.dcgm("a", "b", host="hostname"), replay.triton("c", 2.0), replay.training()]
    parsed = [family for text in [*texts, replay.kubelet("b")] for family in text_string_to_metric_families(text)]
    assert {family.name.removesuffix("_total") for family in parsed} == {
        name.removesuffix("_total") for name in replay.FAMILIES
    }
    (address,) = {
        target["labels"]["instance"] for target in live.targets() if target["scrapePool"].startswith("replay/")
    }
    for name in sorted(replay.FAMILIES):
        series = f'__name__=~"{name}(_bucket|_count|_sum)?"'
        assert live.answers(f'{{{series},instance="{address}"}}'), name
        assert not live.answers(f'{{{series},instance!="{address}"}}'), name
