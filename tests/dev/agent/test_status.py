from collections.abc import Sequence
from typing import Any

import pytest

from trainserve.dev.agent.records import ContainerRecord, Running, State, Terminated, Waiting
from trainserve.dev.agent.status import PodFacts, is_ready, pod_phase, pod_status

NEVER, ALWAYS, ON_FAILURE = "Never", "Always", "OnFailure"


def ended(code: int, reason: str = "Error") -> Terminated:
    return Terminated(code, reason, "", 100.0, 200.0, "process://uid/c/0")


def record(state: State, **more: Any) -> ContainerRecord:
    return ContainerRecord("c", "image", state, **more)


def facts(
    containers: Sequence[ContainerRecord], init: Sequence[ContainerRecord] = (), policy: str = ALWAYS, **more: Any
) -> PodFacts:
    pod = {"metadata": {"name": "p"}, "spec": {"restartPolicy": policy}, "status": more.pop("status", {})}
    return PodFacts(pod, init, containers, "127.0.0.1", "127.64.0.1", 50.0, 300.0, **more)


RUNNING, DONE, BROKEN, NEW = Running(100.0), ended(0, "Completed"), ended(1), Waiting()
CRASHED = record(Waiting("CrashLoopBackOff"), last=ended(1))


@pytest.mark.parametrize(
    ("containers", "init", "policy", "phase"),
    [
        ([record(NEW)], [], ALWAYS, "Pending"),
        ([record(RUNNING)], [], ALWAYS, "Running"),
        ([record(RUNNING), record(NEW)], [], ALWAYS, "Pending"),
        ([record(RUNNING), record(BROKEN)], [], NEVER, "Running"),
        ([record(DONE)], [], NEVER, "Succeeded"),
        ([record(DONE)], [], ON_FAILURE, "Succeeded"),
        ([record(DONE)], [], ALWAYS, "Running"),
        ([record(BROKEN)], [], NEVER, "Failed"),
        ([record(DONE), record(BROKEN)], [], NEVER, "Failed"),
        ([record(BROKEN)], [], ON_FAILURE, "Running"),
        ([record(DONE), CRASHED], [], ON_FAILURE, "Running"),
        ([CRASHED], [], ALWAYS, "Running"),
        ([record(NEW)], [record(RUNNING)], ALWAYS, "Pending"),
        ([record(NEW)], [record(BROKEN)], ALWAYS, "Pending"),
        ([record(NEW)], [record(BROKEN)], NEVER, "Failed"),
        ([record(RUNNING)], [record(DONE)], ALWAYS, "Running"),
    ],
)
def test_the_phase_follows_from_the_containers_and_the_restart_policy(
    containers: list[ContainerRecord], init: list[ContainerRecord], policy: str, phase: str
) -> None:
    assert pod_phase(facts(containers, init, policy)) == phase


def conditions(status: dict[str, Any]) -> dict[str, tuple[str, str | None]]:
    return {each["type"]: (each["status"], each["reason"]) for each in status["conditions"]}


def test_a_pod_is_ready_when_every_container_is() -> None:
    status = pod_status(facts([record(RUNNING, ready=True), record(RUNNING, ready=True)]))
    assert conditions(status)["Ready"] == conditions(status)["ContainersReady"] == ("True", None)


def test_the_conditions_name_the_containers_that_are_not_ready() -> None:
    status = pod_status(facts([record(RUNNING)]))
    ready = next(each for each in status["conditions"] if each["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "ContainersNotReady")
    assert ready["message"] == "containers with unready status: [c]"


def test_a_pod_is_initialized_once_its_init_containers_have_succeeded() -> None:
    before = pod_status(facts([record(NEW)], [record(RUNNING)]))
    after = pod_status(facts([record(NEW)], [record(DONE)]))
    assert conditions(before)["Initialized"] == ("False", "ContainersNotInitialized")
    assert conditions(after)["Initialized"] == ("True", None)


def test_a_succeeded_pod_is_not_ready_because_it_has_completed() -> None:
    assert conditions(pod_status(facts([record(DONE)], policy=NEVER)))["Ready"] == ("False", "PodCompleted")


def test_an_unmet_readiness_gate_keeps_a_pod_from_being_ready() -> None:
    subject = facts([record(RUNNING, ready=True)])
    subject.pod["spec"]["readinessGates"] = [{"conditionType": "example.com/gate"}]
    assert conditions(pod_status(subject))["Ready"] == ("False", "ReadinessGatesNotReady")


def test_a_condition_keeps_its_transition_time_while_it_does_not_change() -> None:
    known = {"conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": "2020-01-01T00:00:00Z"}]}
    still = pod_status(facts([record(RUNNING)], status=known))
    now = pod_status(facts([record(RUNNING, ready=True)], status=known))
    assert [each["lastTransitionTime"] for each in still["conditions"] if each["type"] == "Ready"] == [
        "2020-01-01T00:00:00Z"
    ]
    assert [each["lastTransitionTime"] for each in now["conditions"] if each["type"] == "Ready"] == [
        "1970-01-01T00:05:00Z"
    ]


def test_a_pod_that_the_node_failed_says_why() -> None:
    status = pod_status(facts([record(NEW)], failure=("DeadlineExceeded", "too long")))
    assert (status["phase"], status["reason"], status["message"]) == ("Failed", "DeadlineExceeded", "too long")


def test_a_container_status_shows_its_state_and_the_one_before() -> None:
    status = pod_status(facts([record(RUNNING, last=ended(137, "OOMKilled"), restarts=2)]))["containerStatuses"][0]
    assert status["state"] == {"running": {"startedAt": "1970-01-01T00:01:40Z"}}
    assert status["lastState"]["terminated"]["reason"] == "OOMKilled"
    assert status["restartCount"] == 2


@pytest.mark.parametrize(
    ("metadata", "ready", "expected"),
    [({}, "True", True), ({}, "False", False), ({"deletionTimestamp": "now"}, "True", False)],
)
def test_a_pod_takes_new_connections_while_it_is_ready_and_not_being_deleted(
    metadata: dict[str, str], ready: str, expected: bool
) -> None:
    pod = {"metadata": metadata, "status": {"conditions": [{"type": "Ready", "status": ready}]}}
    assert is_ready(pod) is expected
