"""The chart's Prometheus rules, checked by Prometheus' own programs of both major versions."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.monitoring.dashboards.boards import known
from tests.monitoring.promql import selectors
from tests.monitoring.rules.rulefiles import BASE, CASES, FILES, RUNBOOKS, Rule, cases, rules
from trainserve.dev import prometheus

FOREIGN = ("DCGM_FI_", "kubelet_volume_stats_")
"""Prefixes of the metrics of dcgm-exporter and of the kubelet."""
ALERTS, RECORDS = rules("alert"), rules("record")
KNOWN = known()


@pytest.fixture(params=[prometheus.promtool, prometheus.promtool3], ids=["prometheus 2", "prometheus 3"])
def promtool(request: pytest.FixtureRequest) -> str:
    find: Callable[[], Path] = request.param
    try:
        return str(find())
    except prometheus.PrometheusUnavailable as unavailable:
        pytest.skip(str(unavailable))


def test_promtool_has_nothing_to_say_about_the_files(promtool: str) -> None:
    checked = subprocess.run(
        [promtool, "check", "rules", "--lint=all", "--lint-fatal", *FILES], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.removesuffix(".test.yaml"))
def test_the_rules_say_what_their_cases_expect(promtool: str, case: Path) -> None:
    tested = subprocess.run([promtool, "test", "rules", case.name], cwd=case.parent, capture_output=True, text=True)
    assert tested.returncode == 0, tested.stdout + tested.stderr


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: f"{rule['alert']} {rule['labels']['severity']}")
def test_a_case_fires_the_alert_and_another_does_not(rule: Rule) -> None:
    fires = [
        any(alert["exp_annotations"]["summary"] == rule["annotations"]["summary"] for alert in case["exp_alerts"])
        for case in cases("alert_rule_test")
        if case["alertname"] == rule["alert"]
    ]
    assert True in fires and False in fires


@pytest.mark.parametrize("rule", RECORDS, ids=lambda rule: rule["record"])
def test_a_case_expects_a_value_of_the_recording_rule(rule: Rule) -> None:
    name = re.compile(rf"(?<![\w:]){rule['record']}(?![\w:])")
    source = f'source="{rule["labels"]["source"]}"' if "labels" in rule else ""
    assert any(
        name.search(f"{case['expr']} {sample['labels']}") and source in sample["labels"]
        for case in cases("promql_expr_test")
        for sample in case["exp_samples"]
    )


@pytest.mark.parametrize("rule", [*ALERTS, *RECORDS], ids=lambda rule: rule.get("alert") or rule["record"])
def test_every_expression_parses_and_asks_for_metrics_that_exist(rule: Rule) -> None:
    names = {selector.name or "" for selector in selectors(rule["expr"])}
    assert [name for name in names - KNOWN if not name.startswith(FOREIGN)] == []


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: f"{rule['alert']} {rule['labels']['severity']}")
def test_every_alert_says_how_bad_it_is_what_it_is_and_where_to_read_on(rule: Rule) -> None:
    assert re.fullmatch("TrainServe[A-Z][A-Za-z]+", rule["alert"])
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"{BASE}#{rule['alert'].lower()}"


def test_no_two_alerts_say_the_same() -> None:
    """The summary identifies an alert, both in its test cases and for readers."""
    assert set(Counter(rule["annotations"]["summary"] for rule in ALERTS).values()) == {1}


def test_the_page_of_runbooks_has_a_section_for_each_alert_and_for_no_other() -> None:
    sections = re.findall(r"^## (TrainServe\w+)$", RUNBOOKS.read_text(), re.MULTILINE)
    assert sorted(sections) == sorted({rule["alert"] for rule in ALERTS})


@pytest.mark.parametrize("alert", sorted({rule["alert"] for rule in ALERTS}))
def test_every_runbook_says_what_it_means_what_to_ask_first_whence_it_comes_and_what_helps(alert: str) -> None:
    section = re.search(rf"^## {alert}\n(.*?)(?=^## |\Z)", RUNBOOKS.read_text(), re.MULTILINE | re.DOTALL)
    assert section is not None
    assert re.findall(r"^\*\*(.+?)\.\*\*|^(```sh)$", section[1], re.MULTILINE) == [
        ("What it means", ""),
        ("First commands", ""),
        ("", "```sh"),
        ("Causes", ""),
        ("Repair", ""),
    ]
