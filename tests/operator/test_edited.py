"""Users may edit the labels of a namespace's pods and the status of its objects: the operator keeps working."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from tests.operator.serving import FIRST, Serve
from tests.operator.support import (
    PUBLISHED,
    RUNNING,
    SETTINGS,
    after,
    at,
    command_job,
    condition,
    created,
    ended,
    pod_of,
    trainjob,
)
from trainserve.operator import labels
from trainserve.operator.objects import Object
from trainserve.operator.plan import Plan
from trainserve.operator.trainjob import progress
from trainserve.operator.trainjob.names import place_of
from trainserve.operator.trainjob.observed import Observed
from trainserve.operator.trainjob.plan import plan

LABELS: list[dict[str, str] | None] = [
    None,
    {},
    {labels.ATTEMPT: "first", labels.RANK: "none"},
    {labels.ATTEMPT: "99", labels.RANK: "7", labels.TRAINJOB: "another"},
]


def step(job: Object, pods: list[Object], seconds: float = 0.0) -> Plan:
    return plan(Observed.of(job, pods), SETTINGS, after(seconds))


def started(job: Object, status: Object) -> tuple[Object, list[Object]]:
    """Return the job after its first step, and its pods with this status."""
    first = step(job, [])
    return job | {"status": first.status}, [pod_of(wanted, status) for wanted in created(first, "Pod")]


def relabelled(pods: list[Object], said: dict[str, str] | None) -> list[Object]:
    edited = deepcopy(pods)
    for pod in edited:
        pod["metadata"].pop("labels")
        pod["metadata"] |= {} if said is None else {"labels": said}
    return edited


@pytest.mark.parametrize("said", LABELS)
@pytest.mark.parametrize("status", [RUNNING, ended(0, PUBLISHED), ended(1, "no")])
def test_a_pods_labels_change_nothing(said: dict[str, str] | None, status: Object) -> None:
    job, pods = started(trainjob(workers={"nodes": 2}), status)
    edited = relabelled(pods, said)
    assert step(job, edited, 20) == step(job, pods, 20)
    asked = progress.targets(Observed.of(job, edited))
    assert asked == progress.targets(Observed.of(job, pods))
    assert (status is RUNNING) == bool(asked)


@pytest.mark.parametrize("said", LABELS)
def test_pods_that_were_never_recorded_are_taken_up_by_their_names(said: dict[str, str] | None) -> None:
    job = command_job(workers={"nodes": 2})
    _, pods = started(job, RUNNING)
    taken = step(job, relabelled(pods, said))
    assert created(taken, "Pod") == []
    assert taken.status["attempts"][-1]["pods"] == ["digits-1-0", "digits-1-1"]
    refused = step(job | {"spec": {**job["spec"], "policy": {"suspend": True}}}, relabelled(pods, said))
    assert refused.status["attempts"][-1]["pods"] == ["digits-1-0", "digits-1-1"]


@pytest.mark.parametrize(
    ("name", "place"),
    [("digits-1-0", (1, 0)), ("digits-12-345", (12, 345)), ("digits-1-look", None), ("digits-0-1", None),
     ("other-1-0", None), ("digits-1-0-0", None), ("digits-99999999999-0", None)],
)  # fmt: skip
def test_a_workers_place_is_in_its_name(name: str, place: tuple[int, int] | None) -> None:
    assert place_of("digits", name) == place


ATTEMPTS: list[Any] = [
    [{"number": 1}],
    [{"number": 1, "pods": ["digits-1-0"]}],
    [{"number": 1, "pods": [], "startTime": at(0)}],
    [{"number": 1, "completionTime": at(1)}],
    [{"number": 1, "completionTime": at(1), "reason": ""}],
    [{"number": 3, "startTime": at(0)}, {"number": 1, "startTime": at(0)}],
    [{"number": 1}, {"number": 1}],
    [{"number": 0}],
    [{"number": "one"}],
    [{}],
    [],
    "none",
    None,
    {"number": 1},
]


@pytest.mark.parametrize("attempts", ATTEMPTS)
@pytest.mark.parametrize("node", [RUNNING, ended(0), None])
def test_a_job_whose_attempts_were_edited_goes_on_to_an_end(attempts: Any, node: Object | None) -> None:
    job, pods = started(command_job(policy={"retries": 0}), node or RUNNING)
    job["status"]["attempts"] = attempts
    pods = pods if node else []
    for seconds in (20, 400, 800, 1200):
        done = step(job, pods, seconds)
        job = job | {"status": done.status}
        pods = [pod | {"status": ended(0)} for pod in (*pods, *(pod_of(wanted) for wanted in created(done, "Pod")))]
    assert job["status"]["phase"] in ("Complete", "Failed")


@pytest.mark.parametrize(
    "status",
    [
        {"conditions": [{"type": "Complete"}]},
        {"conditions": [{"type": "Failed", "status": "Perhaps"}, {"status": "True"}]},
        {"conditions": "none", "specDigests": {"model": 1}, "artifact": {"version": -1}, "startTime": "never"},
        {"attemptsDropped": "many", "progress": [], "result": 1, "observedGeneration": "x", "phase": 5},
        "none",
        [],
    ],
)
def test_a_status_that_cannot_be_read_is_as_if_it_had_not_been_written(status: Any) -> None:
    first = step(trainjob() | {"status": status}, [])
    assert created(first, "Pod") and first.status == step(trainjob(), []).status


@pytest.mark.parametrize(
    "status",
    [
        {"history": [{"digest": 1}], "tuning": {"held": "yes"}, "conditions": [{"type": "Ready"}]},
        {"history": "none", "tuning": [], "replicas": {}, "conditions": None},
        "none",
    ],
)
def test_a_modelserve_whose_status_was_edited_serves(status: Any) -> None:
    serve = Serve.ready(FIRST)
    serve.object["status"] = status
    serve.step(10)
    assert serve.status["phase"] == "Ready" and condition(serve.status, "Ready")["status"] == "True"
