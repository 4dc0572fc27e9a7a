from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainserve.cli.top import pods, rows
from trainserve.cli.top.figures import P99
from trainserve.cli.top.rows import SORTS, Serving, Training

NOW = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
META = {"namespace": "team", "name": "digits", "uid": "1", "creationTimestamp": "2026-11-29T11:58:00Z"}
SPEC = {"model": {"name": "convnet"}, "resources": {"gpus": 2}, "workers": {"nodes": 3}}
RUNNING = {
    "phase": "Running",
    "attempts": [{"number": 1}, {"number": 2}],
    "attemptsDropped": 3,
    "progress": {"epoch": 1, "epochs": 5, "loss": 0.9, "etaSeconds": 60, "samplesPerSecond": 100},
}

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def job(status: dict[str, Any], **meta: Any) -> dict[str, Any]:
    return {"metadata": META | meta, "spec": SPEC, "status": status}


def condition(kind: str, status: str, reason: str, message: str = "") -> dict[str, str]:
    return {"type": kind, "status": status, "reason": reason, "message": message}


def test_what_the_pod_says_is_newer_than_what_the_operator_wrote() -> None:
    said = {"epoch": 2, "epochs": 5, "loss": 0.5, "accuracy": 0.8, "gpuUtilization": 0.5, "gpuMemoryBytes": 2**30}
    row = rows.training(job(RUNNING), said, NOW)
    assert (row.epoch, row.epochs, row.loss, row.accuracy) == (2, 5, 0.5, 0.8)
    assert (row.rate, row.eta, row.gpu, row.memory) == (100, 60, 0.5, 2**30)
    assert (row.attempts, row.age, row.gpus) == (5, 120, 6)


def test_without_a_word_of_the_pod_the_operators_figures_stand() -> None:
    row = rows.training(job(RUNNING), None, NOW)
    assert (row.epoch, row.loss, row.rate) == (1, 0.9, 100)


def test_of_a_run_that_is_over_the_result_is_told_and_nothing_of_the_moment() -> None:
    row = rows.training(
        job({**RUNNING, "phase": "Complete", "result": {"accuracy": 0.97, "loss": 0.09, "samplesPerSecond": 90}}),
        None,
        NOW,
    )
    assert (row.accuracy, row.loss, row.rate, row.eta, row.gpus) == (0.97, 0.09, 90, None, 0)


def test_a_loss_that_is_no_longer_a_number_is_told() -> None:
    loss = rows.training(job(RUNNING), {"loss": math.nan}, NOW).loss
    assert loss is not None and math.isnan(loss)


@pytest.mark.parametrize(
    ("phase", "conditions", "why"),
    [
        ("Running", [condition("Running", "True", "Running", "every pod runs")], ""),
        (
            "Unschedulable",
            [condition("Accepted", "True", "Accepted"), condition("Scheduled", "False", "Unschedulable", "no GPU")],
            "no GPU",
        ),
        ("Pending", [condition("Running", "False", "ImagePull", "x-1-0: not found")], "ImagePull: x-1-0: not found"),
        ("Restarting", [condition("Running", "False", "OOMKilled", "attempt 1")], "OOMKilled: attempt 1"),
        (
            "Failed",
            [condition("Running", "False", "Finished", "over"), condition("Failed", "True", "DataError", "no file")],
            "DataError: no file",
        ),
        ("Refused", [condition("Accepted", "False", "Invalid", "spec.x")], "Invalid: spec.x"),
    ],
)
def test_why_a_trainjob_waits_or_failed_is_its_conditions_reason(
    phase: str, conditions: list[dict[str, str]], why: str
) -> None:
    assert rows.training(job({"phase": phase, "conditions": conditions}), None, NOW).why == why


def serve(status: dict[str, Any]) -> dict[str, Any]:
    spec = {"replicas": 2, "resources": {"gpus": 1}, "slo": {"p99": "20ms"}}
    return {"metadata": META, "spec": spec, "status": status}


def test_a_modelserve_is_told_with_its_pods_figures_and_its_objective() -> None:
    status = {"phase": "Ready", "version": 4, "replicas": {"desired": 2, "ready": 1}, "latency": {"p99Ms": 9.5}}
    row = rows.serving(serve(status), 12.5, P99(3.0, "server"), NOW)
    assert (row.version, row.ready, row.replicas, row.rate, row.objective, row.gpus) == (4, 1, 2, 12.5, 20.0, 2)
    assert row.p99 == P99(3.0, "server")
    assert rows.serving(serve(status), None, None, NOW).p99 == P99(9.5, "probe")
    assert rows.serving(serve({}), None, None, NOW).p99 is None


@pytest.mark.parametrize(
    ("phase", "conditions", "why"),
    [
        ("Ready", [condition("Progressing", "False", "UpToDate", "digits version 1")], ""),
        ("Waiting", [condition("ModelResolved", "False", "ModelNotFound", "nothing")], "ModelNotFound: nothing"),
        (
            "Updating",
            [
                condition("ModelResolved", "True", "Resolved", "version 2"),
                condition("Progressing", "True", "RollingOut", "version 2"),
                condition("Ready", "True", "Serving", "1 of 1"),
            ],
            "RollingOut: version 2",
        ),
        (
            "Failed",
            [
                condition("Ready", "False", "NotServing", "0 of 1"),
                condition("Progressing", "False", "OutputMismatch", "sample 3"),
            ],
            "OutputMismatch: sample 3",
        ),
        (
            "Degraded",
            [
                condition("Progressing", "False", "UpToDate", "version 1"),
                condition("Ready", "True", "ReplicasMissing", "1 of 2 replicas are ready"),
            ],
            "ReplicasMissing: 1 of 2 replicas are ready",
        ),
    ],
)
def test_why_a_modelserve_is_not_as_wanted_is_its_conditions_reason(
    phase: str, conditions: list[dict[str, str]], why: str
) -> None:
    assert rows.serving(serve({"phase": phase, "conditions": conditions}), None, None, NOW).why == why


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("a\x1b[31mred\x1b[0m\r\nb", "a\ufffd[31mred\ufffd[0m b"),
        ("\x1b]8;;http://x\x07link", "\ufffd]8;;http://x\ufffdlink"),
        ("left\u202eright\u200b", "left\ufffdright\ufffd"),
        ("tab\tbell\x07\x9b2J", "tab bell\ufffd\ufffd2J"),
        ("half \ud83d", "half \ufffd"),
        ("Größe 大きさ ok", "Größe 大きさ ok"),
        (None, ""),
        (7, "7"),
    ],
)
def test_nothing_that_anybody_wrote_moves_the_cursor(written: Any, shown: str) -> None:
    assert rows.clean(written) == shown


@given(st.text())
def test_what_is_shown_is_printable_and_one_line(written: str) -> None:
    assert rows.clean(written).isprintable()


@given(anything, anything, anything)
def test_no_value_of_a_pod_or_object_breaks_a_row(said: Any, progress: Any, other: Any) -> None:
    status = dict.fromkeys(("phase", "attempts", "conditions", "replicas", "version", "latency", "result"), other)
    status |= {"progress": progress, "attemptsDropped": other}
    meta = {"name": other, "namespace": other, "creationTimestamp": other}
    thing = {"metadata": meta, "spec": {"resources": other, "workers": other, "slo": {"p99": other}}, "status": status}
    answer = said if isinstance(said, dict) else dict.fromkeys(("epoch", "loss", "gpuUtilization"), said)
    rows.ordered([rows.training(thing, answer, NOW)] * 2, "loss")
    rows.ordered([rows.serving(thing, None, None, NOW)] * 2, "p99")


def training(name: str, **fields: Any) -> Training:
    return Training(**{"namespace": "team", "name": name, "phase": "Running", **fields})


def names(found: list[Any]) -> list[str]:
    return [row.name for row in found]


def test_what_runs_comes_first_then_what_waits_then_what_is_over_the_youngest_first() -> None:
    given_ = [
        training("done", phase="Complete", age=1.0),
        training("odd", phase="Whatever", age=0.0),
        training("old", age=9.0),
        training("failed", phase="Failed"),
        training("waits", phase="Pending", age=5.0),
        training("young", age=2.0),
    ]
    assert names(rows.ordered(given_, "phase")) == ["young", "old", "waits", "failed", "done", "odd"]
    serves = [Serving(namespace="t", name=phase, phase=phase) for phase in ("Ready", "Failed", "Starting")]
    assert names(rows.ordered(serves, "phase")) == ["Failed", "Starting", "Ready"]


@pytest.mark.parametrize(
    ("key", "order"),
    [
        ("name", ["a", "b", "c"]),
        ("rate", ["b", "a", "c"]),
        ("loss", ["a", "b", "c"]),
        ("age", ["c", "a", "b"]),
        ("version", ["c", "a", "b"]),
    ],
)
def test_sorting_by_a_figure_puts_what_has_none_last(key: str, order: list[str]) -> None:
    given_ = [
        training("c", age=1.0, loss=math.nan),
        training("a", rate=1.0, loss=0.1, age=2.0),
        training("b", rate=2.0, loss=0.2, age=3.0),
    ]
    assert names(rows.ordered(given_, key)) == order


@pytest.mark.parametrize("key", SORTS)
def test_every_column_sorts_rows_without_figures(key: str) -> None:
    assert len(rows.ordered([training("a"), training("b")], key)) == 2
    assert len(rows.ordered([Serving(namespace="t", name=name, phase="Ready") for name in "ab"], key)) == 2


def pod(name: str, labels: dict[str, str], owner: str = "1", address: str = "10.0.0.1", **meta: Any) -> dict[str, Any]:
    own = {f"trainserve.io/{key}": value for key, value in labels.items()}
    metadata = {"namespace": "team", "name": name, "labels": own, "ownerReferences": [{"uid": owner}], **meta}
    return {"metadata": metadata, "status": {"podIP": address}}


RANK_0 = {"trainjob": "digits", "rank": "0", "attempt": "2"}


@pytest.mark.parametrize(
    ("found", "asked"),
    [
        (pod("a", RANK_0), True),
        (pod("a", RANK_0 | {"rank": "1"}), False),
        (pod("a", RANK_0 | {"trainjob": "other"}), False),
        (pod("a", RANK_0, owner="an earlier one of that name"), False),
        (pod("a", RANK_0, address=""), False),
        (pod("a", RANK_0, deletionTimestamp="2026-11-29T11:58:00Z"), False),
    ],
)
def test_rank_0_of_a_run_that_goes_on_is_asked(found: dict[str, Any], asked: bool) -> None:
    assert bool(pods.training([job(RUNNING)], [found])) is asked
    assert not pods.training([job({"phase": "Complete"})], [found])


def test_of_two_attempts_the_newer_one_is_asked_and_of_a_users_own_command_none() -> None:
    older, newer = pod("a", RANK_0 | {"attempt": "9"}), pod("b", RANK_0 | {"attempt": "10"})
    assert pods.training([job(RUNNING)], [newer, older]) == {("team", "digits"): newer}
    own = job(RUNNING) | {"spec": {"model": {"image": "mine", "command": ["train"]}}}
    assert not pods.training([own], [newer])


def test_pods_of_every_version_that_serve_are_asked_but_not_one_that_asks_the_store() -> None:
    old, new = (pod(name, {"modelserve": "digits", "version": name}) for name in ("old", "new"))
    resolver = pod("resolver", {"modelserve": "digits"})
    assert pods.serving([serve({})], [old, resolver, new]) == {("team", "digits"): [old, new]}


def test_a_pods_name_cannot_lead_elsewhere_on_the_api_server() -> None:
    found = pods.endpoint({"metadata": {"namespace": "a/b", "name": "../x?y#z"}, "status": {"podIP": "::1"}}, 8002)
    assert found.path == "/api/v1/namespaces/a%2Fb/pods/..%2Fx%3Fy%23z:8002/proxy"
