"""Retries of a TrainJob after an attempt that fails, is preempted, or vanishes."""

from __future__ import annotations

import pytest

from tests.operator.support import (
    PUBLISHED,
    RUNNING,
    SETTINGS,
    Run,
    at,
    command_job,
    condition,
    created,
    ended,
    failed,
    gang,
    pod_of,
    trainjob,
)
from trainserve.operator.cache import trim
from trainserve.operator.objects import Object
from trainserve.operator.plan import Delete
from trainserve.operator.specs import parse_trainjob
from trainserve.operator.trainjob.builders import worker_pod


@pytest.mark.parametrize("reason", ["GateNotMet", "ParityFailed", "DataError", "ConfigError"])
def test_a_deterministic_failure_is_not_tried_again(reason: str) -> None:
    run = Run(trainjob())
    run.step()
    run.set("digits-1-0", ended(10, failed(reason)))
    run.step(11)
    assert condition(run.status, "Failed")["reason"] == reason
    assert condition(run.status, "Published")["status"] == "False"
    assert run.step(600).create == []


def test_a_failure_is_tried_again_after_a_pause_that_the_status_announces() -> None:
    run = Run(trainjob())
    run.step()
    run.set("digits-1-0", ended(1, failed("UserError")))
    waiting = run.step(11)
    assert waiting.create == []
    assert waiting.requeue_after == 1.0
    assert "attempt 2 starts at 2026-11-22T16:00:12Z" in condition(run.status, "Running")["message"]
    assert run.status["phase"] == "Restarting"
    assert [wanted["metadata"]["name"] for wanted in run.step(12).create] == ["digits-2", "digits-2-0"]


def test_the_same_error_twice_at_once_stops_early() -> None:
    run = Run(trainjob())
    run.step()
    run.set("digits-1-0", ended(1, failed("UserError")))
    run.step(12)
    run.set("digits-2-0", ended(1, failed("UserError")))
    run.step(13)
    assert run.reasons() == ["UserError", "UserError"]
    assert "same error" in condition(run.status, "Failed")["message"]


def test_retries_are_used_up_by_different_errors() -> None:
    run = Run(trainjob(policy={"retries": 1}))
    run.step()
    run.set("digits-1-0", ended(1, failed("UserError", "first")))
    run.step(12)
    run.set("digits-2-0", ended(1, failed("UserError", "second")))
    run.step(13)
    assert "policy.retries: 1" in condition(run.status, "Failed")["message"]


def test_a_preempted_worker_restarts_the_gang_without_using_a_retry() -> None:
    run = gang(2)
    run.job["spec"]["policy"] = {"retries": 0}
    run.set("digits-1-1", {"phase": "Failed", "reason": "Preempting", "message": "for another"})
    stopping = run.step(5)
    assert stopping.delete == [Delete("Pod", "digits-1-0")]
    assert run.reasons() == ["Preempted"]
    assert created(run.step(30), "Pod")[0]["metadata"]["name"] == "digits-2-0"


def test_a_deleted_pod_restarts_the_job_without_using_a_retry() -> None:
    run = Run(trainjob(policy={"retries": 0}))
    run.step()
    del run.children["digits-1-0"]
    run.step(1)
    assert run.reasons() == ["Preempted"]
    assert created(run.step(10), "Pod")


def test_the_next_attempt_waits_until_the_last_pod_of_the_gang_is_gone() -> None:
    run = gang(2)
    run.set("digits-1-0", ended(1, failed("UserError")))
    run.set("digits-1-1", RUNNING, deletionTimestamp=at(20))
    waiting = run.step(15)
    assert (waiting.create, waiting.delete) == ([], [])
    assert "being stopped" in condition(run.status, "Running")["message"]


def test_a_pod_that_stays_on_a_lost_node_is_deleted_by_force() -> None:
    run = Run(trainjob())
    run.step()
    run.set("digits-1-0", RUNNING, deletionTimestamp=at(0))
    assert run.step(59).requeue_after == 1.0
    assert run.step(60).delete == [Delete("Pod", "digits-1-0", force=True)]


def test_a_job_that_is_preempted_again_and_again_lists_its_first_and_newest_attempts() -> None:
    run, clock = Run(trainjob(policy={"retries": 5})), 0
    run.step()
    for number in range(1, 61):
        lost = {"phase": "Failed", "reason": "Evicted", "message": "disk"}
        run.set(f"digits-{number}-0", ended(1, failed("UserError", "once")) if number == 30 else lost)
        run.step(clock := clock + 1000)
        run.step(clock := clock + 1000)
    numbers = [attempt["number"] for attempt in run.status["attempts"]]
    assert numbers == [1, 30, *range(44, 62)], "the one that counts against retries is kept"
    assert run.status["attemptsDropped"] == 41
    assert ["pods" in attempt for attempt in run.status["attempts"]] == [*[False] * 19, True]


def succeeded() -> Run:
    """Return a run whose first attempt published version 1, as its status records."""
    run = Run(trainjob())
    run.step()
    run.set("digits-1-0", ended(0, PUBLISHED, reason="Completed"))
    run.step(11)
    assert run.status["phase"] == "Complete"
    return run


def written_over(run: Run, *conditions: Object) -> None:
    """Overwrite the final status as a replica with a stale view would: it keeps the attempts, not the conditions."""
    accepted = condition(run.status, "Accepted")
    held = [{**accepted, **changed, "message": "as it was"} for changed in conditions]
    run.job["status"] = run.status | {"conditions": [accepted, *held], "phase": "Running"}


@pytest.mark.parametrize(
    "held",
    [
        [{"type": "Running", "status": "True", "reason": "Running"}],
        [{"type": "Failed", "status": "True", "reason": "Succeeded"}],
        [{"type": "Running", "status": "False", "reason": "Pending"}, {"type": "Failed", "status": "False"}],
    ],
    ids=["runs", "failed", "pending"],
)
@pytest.mark.parametrize("pods_are_there", [True, False])
def test_a_succeeded_attempt_is_a_success_whatever_the_conditions_say(held: list[Object], pods_are_there: bool) -> None:
    run = succeeded()
    whole = run.status
    written_over(run, *({"reason": "Succeeded"} | changed for changed in held))
    if not pods_are_there:
        run.children.clear()
    plan = run.step(60)
    assert (plan.create, plan.delete) == ([], [])
    assert (run.status["phase"], run.reasons()) == ("Complete", ["Succeeded"])
    assert condition(run.status, "Failed").get("status") in (None, "False")
    assert condition(run.status, "Published")["status"] == "True"
    assert run.status["artifact"] == whole["artifact"]


def test_what_a_replica_with_an_old_view_started_after_the_success_is_stopped_and_not_taken_up() -> None:
    run = succeeded()
    later = pod_of(worker_pod(run.job, parse_trainjob(run.job), 2, 0, SETTINGS), RUNNING)
    run.children["digits-2-0"] = later
    written_over(run, {"type": "Running", "status": "True", "reason": "Running"})
    assert run.step(60).create == []
    assert run.status["phase"] == "Complete"
    assert run.step(61).delete == [Delete("Pod", "digits-2-0")]
    assert (run.status["phase"], run.reasons()) == ("Complete", ["Succeeded"])


def test_a_pod_that_succeeded_is_believed_though_it_was_taken_for_one_that_vanished() -> None:
    run = Run(trainjob())
    run.step()
    pod = run.children.pop("digits-1-0")
    run.step(1)
    assert run.reasons() == ["Preempted"]
    run.children["digits-1-0"] = pod | {"status": ended(0, PUBLISHED, reason="Completed")}
    assert run.step(30).create == []
    assert (run.status["phase"], run.reasons()) == ("Complete", ["Succeeded"])
    assert "message" not in run.status["attempts"][0]


@pytest.mark.parametrize("hours", [-24, -1, 1, 24])
def test_a_node_whose_clock_is_wrong_neither_delays_a_retry_nor_hurries_it(hours: int) -> None:
    run = Run(trainjob())
    run.step()
    status = ended(1, "why")
    status["containerStatuses"][0]["state"]["terminated"]["finishedAt"] = at(10 + 3600 * hours)
    run.set("digits-1-0", status)
    entry = {"manager": "kubelet", "time": at(10), "fieldsV1": {"f:status": {"f:containerStatuses": {}}}}
    run.children["digits-1-0"]["metadata"]["managedFields"] = [entry]
    run.children["digits-1-0"] = trim("Pod", run.children["digits-1-0"])
    plan = run.step(10.5)
    assert plan.requeue_after is not None
    assert 0 < plan.requeue_after <= 2
    assert run.status["attempts"][0]["completionTime"] == at(10)
    assert run.step(12.5).create != []


def test_a_pod_that_ended_before_its_attempt_was_recorded_is_looked_at_at_once() -> None:
    run = Run(command_job())
    run.step()
    del run.job["status"]
    run.set("digits-1-0", ended(0, reason="Completed"))
    assert run.step(20).requeue_after == 0
    run.step(20)
    assert run.status["phase"] == "Complete"
