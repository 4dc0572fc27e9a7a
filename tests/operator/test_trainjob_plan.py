"""From a TrainJob, its pods and the time to the next step."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.operator.support import (
    NOW,
    PUBLISHED,
    RUNNING,
    SETTINGS,
    Run,
    after,
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
from trainserve.operator import labels
from trainserve.operator.cache import trim
from trainserve.operator.objects import Object
from trainserve.operator.plan import Delete
from trainserve.operator.settings import Settings
from trainserve.operator.specs import parse_trainjob
from trainserve.operator.trainjob.builders import worker_pod
from trainserve.operator.trainjob.observed import Observed
from trainserve.operator.trainjob.plan import plan


def test_a_new_job_gets_its_configuration_and_then_its_pod() -> None:
    run = Run(trainjob())
    assert [(wanted["kind"], wanted["metadata"]["name"]) for wanted in run.step().create] == [
        ("ConfigMap", "digits-1"),
        ("Pod", "digits-1-0"),
    ]
    assert run.status["attempts"] == [{"number": 1, "pods": ["digits-1-0"], "startTime": at(0)}]
    assert run.status["phase"] == "Pending"


def test_a_users_own_command_needs_a_pod_and_nothing_else() -> None:
    (pod,) = Run(command_job()).step().create
    container = pod["spec"]["containers"][0]
    assert (pod["kind"], container["image"], container["command"]) == ("Pod", "mine", ["true"])


def test_planning_again_without_news_changes_nothing() -> None:
    run = Run(trainjob())
    run.step()
    status = run.status
    again = run.step(5)
    assert (again.create, again.delete, again.apply) == ([], [], [])
    assert again.status == status


def test_a_running_pod_makes_the_job_running_with_its_progress() -> None:
    run = Run(trainjob())
    run.step()
    run.set("digits-1-0", RUNNING)
    run.step(2, {"epoch": 2, "epochs": 5, "accuracy": 0.5})
    assert run.status["phase"] == "Running"
    assert run.status["progress"]["epoch"] == 2
    assert run.status["columns"] == {"epoch": "2/5", "accuracy": "0.500"}


def test_a_published_version_completes_the_job() -> None:
    run = Run(trainjob())
    run.step()
    run.set("digits-1-0", ended(0, PUBLISHED, reason="Completed"))
    told = [event.reason for event in run.step(11).events]
    assert run.status["phase"] == "Complete"
    assert run.status["artifact"] == PUBLISHED["artifact"]
    assert run.status["completionTime"] == at(10)
    assert told == ["Published", "Complete"]
    assert run.step(12).events == []


def test_a_users_own_command_completes_on_exit_0_and_publishes_nothing() -> None:
    run = Run(command_job())
    run.step()
    run.set("digits-1-0", ended(0, "", reason="Completed"))
    run.step(11)
    assert run.status["phase"] == "Complete"
    assert condition(run.status, "Published") == {}


def test_a_trainer_that_ends_well_but_reports_no_version_fails_the_job() -> None:
    run = Run(trainjob())
    run.step()
    run.set("digits-1-0", ended(0, "bye", reason="Completed"))
    run.step(11)
    assert condition(run.status, "Failed")["reason"] == "NothingPublished"


def test_no_node_that_fits_is_said_in_the_schedulers_words() -> None:
    run = Run(trainjob())
    run.step()
    words = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
    refusal = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": words}
    run.set("digits-1-0", {"phase": "Pending", "conditions": [refusal]})
    run.step(1)
    scheduled = condition(run.status, "Scheduled")
    assert (scheduled["status"], scheduled["reason"], scheduled["message"]) == ("False", "Unschedulable", words)
    assert run.status["phase"] == "Unschedulable"


def test_an_image_that_cannot_be_pulled_is_a_reason_and_not_a_failure() -> None:
    run = Run(trainjob())
    run.step()
    waiting = {"name": "trainer", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}
    run.set("digits-1-0", {"phase": "Pending", "containerStatuses": [waiting]})
    run.step(1)
    assert condition(run.status, "Running")["reason"] == "ImagePull"
    assert condition(run.status, "Failed") == {}


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


def test_a_job_made_anew_does_not_adopt_the_pods_of_its_namesake() -> None:
    run = Run(trainjob())
    run.step()
    run.set("digits-1-0", ended(0, PUBLISHED))
    fresh = plan(Observed.of(trainjob(uid="another"), list(run.children.values())), SETTINGS, NOW)
    assert fresh.status["phase"] == "Pending"
    assert [owner["uid"] for owner in created(fresh, "Pod")[0]["metadata"]["ownerReferences"]] == ["another"]


def test_an_operator_killed_between_creating_and_recording_takes_up_its_pods() -> None:
    run = Run(trainjob())
    (pod,) = created(run.step(), "Pod")
    forgotten = plan(Observed.of(trainjob(), [pod_of(pod, ended(0, PUBLISHED))]), SETTINGS, after(3))
    assert created(forgotten, "Pod") == []
    assert [attempt["number"] for attempt in forgotten.status["attempts"]] == [1]


def lost_write(job: Object) -> tuple[Run, Object]:
    """A run whose second attempt was created while its recording, and the end of the first, were lost."""
    run = Run(job)
    run.step()
    recorded = run.status
    run.set("digits-1-0", ended(1, failed("UserError", "first")))
    run.step(60)
    assert run.pods() == ["digits-1-0", "digits-2-0"]
    run.job = run.job | {"status": recorded}
    del run.children["ConfigMap/digits-2"]  # creating it again answers the one there is
    return run, recorded


def test_an_attempt_whose_end_was_not_recorded_is_closed_before_the_next_is_taken_up() -> None:
    run, _ = lost_write(trainjob())
    told = run.step(61).events
    assert [attempt["number"] for attempt in run.status["attempts"]] == [1, 2]
    assert run.reasons() == ["UserError", None]
    assert [event.key for event in told] == ["attempt-1"]
    run.set("digits-2-0", ended(1, failed("UserError", "second")))
    run.step(70)
    assert run.reasons()[:2] == ["UserError", "UserError"]


def test_an_attempt_recorded_without_its_end_by_an_earlier_operator_holds_nothing_up() -> None:
    run, recorded = lost_write(trainjob())
    run.step(61)
    run.job["status"]["attempts"][0] = recorded["attempts"][0]
    run.set("digits-2-0", ended(1, failed("UserError", "second")))
    run.step(70)
    assert run.reasons()[:2] == [None, "UserError"]


def test_pods_that_were_not_recorded_are_taken_up_even_if_the_spec_has_changed() -> None:
    run, _ = lost_write(trainjob())
    run.job["spec"] = run.job["spec"] | {"trainer": {"epochs": 9}}
    run.step(61)
    assert condition(run.status, "Accepted")["reason"] == "SpecChanged"
    assert [attempt["number"] for attempt in run.status["attempts"]] == [1, 2]
    assert run.status["attempts"][1]["pods"] == ["digits-2-0"]


@pytest.mark.parametrize("claim", [ended(1, failed("NodeLost")), ended(143, failed("Interrupted")), ended(143)])
def test_a_command_cannot_have_itself_started_anew_without_end(claim: Object) -> None:
    run = Run(command_job(policy={"retries": 1}))
    run.step()
    for attempt in (1, 2):
        run.set(f"digits-{attempt}-0", claim)
        run.step(12 * attempt)
    assert condition(run.status, "Failed")["reason"] == "UserError"


def test_a_command_cannot_claim_to_have_published() -> None:
    run = Run(command_job())
    run.step()
    run.set("digits-1-0", ended(0, PUBLISHED, reason="Completed"))
    told = [event.reason for event in run.step(11).events]
    assert ("artifact" in run.status, condition(run.status, "Published"), told) == (False, {}, ["Complete"])


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


def test_a_spec_changed_before_its_recording_is_noticed_by_the_pods_annotation() -> None:
    run = Run(trainjob())
    (pod,) = created(run.step(), "Pod")
    changed = Run(trainjob(trainer={"epochs": 9}))
    changed.children = {"digits-1-0": pod_of(pod)}
    changed.step()
    changed.step()
    assert condition(changed.status, "Accepted")["reason"] == "SpecChanged"


@pytest.mark.parametrize("text", ["", "no JSON", "[]", "[" * 60_000])
def test_an_annotation_that_somebody_has_spoiled_stops_nothing(text: str) -> None:
    run = Run(trainjob())
    (pod,) = created(run.step(), "Pod")
    pod["metadata"]["annotations"][labels.SPEC_DIGESTS] = text
    taken_up = plan(Observed.of(trainjob(), [pod_of(pod, RUNNING)]), SETTINGS, after(3))
    assert taken_up.status["specDigests"] == run.status["specDigests"]


def test_a_changed_spec_starts_no_attempt_even_when_a_failure_is_noticed_late() -> None:
    run = Run(trainjob())
    run.step()
    run.set("digits-1-0", ended(1, failed("UserError")))
    run.job["spec"] = run.job["spec"] | {"trainer": {"epochs": 9}}
    assert not run.step(3600).create
    assert condition(run.status, "Running")["message"].endswith("no attempt starts while the spec is refused")
    assert not run.step(3601).create


def test_a_changed_spec_is_refused_by_field_and_what_runs_goes_on() -> None:
    run = Run(trainjob())
    run.step()
    run.set("digits-1-0", RUNNING)
    run.step(1)
    run.job["spec"] = run.job["spec"] | {"trainer": {"epochs": 9}}
    run.step(2)
    accepted = condition(run.status, "Accepted")
    assert (accepted["status"], accepted["reason"]) == ("False", "SpecChanged")
    assert accepted["message"].startswith("spec.trainer: spec cannot change once the first attempt has started")
    assert run.status["phase"] == "Running"
    run.set("digits-1-0", ended(1, failed("UserError")))
    run.step(11)
    assert run.step(60).create == []


@pytest.mark.parametrize("policy", [{"retries": 7}, {"retries": 0}])
def test_policy_may_change_while_the_job_runs(policy: Object) -> None:
    run = Run(trainjob())
    run.step()
    run.job["spec"] = run.job["spec"] | {"policy": policy}
    run.step(1)
    assert condition(run.status, "Accepted")["status"] == "True"


def test_writing_out_a_default_is_no_change() -> None:
    run = Run(trainjob())
    run.step()
    run.job["spec"] = run.job["spec"] | {"trainer": {"epochs": 5, "batchSize": 64}}
    run.step(1)
    assert condition(run.status, "Accepted")["status"] == "True"


@pytest.mark.parametrize(
    ("spec", "reason", "said"),
    [
        ({"trainer": {"batchSize": 0}}, "Invalid", "spec.trainer.batchSize"),
        ({"trainer": {"epocs": 3}}, "Invalid", "spec.trainer.epocs"),
        ({"resources": {"gpus": 1, "gpu": {"mig": "1g.10gb"}}}, "NotSupported", "spec.resources.gpu.mig"),
        ({"policy": {"suspend": True}}, "NotSupported", "spec.policy.suspend"),
    ],
)
def test_what_cannot_be_acted_on_is_refused_and_nothing_is_touched(spec: Object, reason: str, said: str) -> None:
    run = Run(trainjob(**spec))
    refused = run.step()
    assert (refused.create, refused.apply, refused.delete) == ([], [], [])
    accepted = condition(run.status, "Accepted")
    assert (accepted["status"], accepted["reason"]) == ("False", reason)
    assert said in accepted["message"]
    assert run.status["phase"] == "Refused"


def test_checkpoints_are_refused_where_the_store_is_no_volume() -> None:
    remote = Settings.from_environment({"TRAINSERVE_STORE": "s3://bucket/models"})
    refused = plan(Observed.of(trainjob(checkpoint={}), []), remote, NOW)
    accepted = condition(refused.status, "Accepted")
    assert (refused.create, accepted["reason"]) == ([], "NotSupported")
    assert accepted["message"].startswith("spec.checkpoint: ")
    assert "s3://bucket/models" in accepted["message"]
    assert plan(Observed.of(trainjob(), []), remote, NOW).create


def test_a_name_that_leaves_no_room_for_the_pods_is_refused() -> None:
    run = Run(trainjob(name="n" * 60))
    assert run.step().create == []
    assert "metadata.name" in condition(run.status, "Accepted")["message"]


def test_a_refused_job_starts_once_its_spec_is_mended() -> None:
    run = Run(trainjob(policy={"suspend": True}))
    run.step()
    run.job["spec"] = trainjob()["spec"]
    assert created(run.step(5), "Pod")
    assert run.status["phase"] == "Pending"


SAID: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats() | st.text(max_size=3) | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
PROGRESS = st.dictionaries(st.sampled_from(["epoch", "epochs", "step", "loss", "updatedTime", "percent"]), SAID)
ARTIFACT = st.dictionaries(st.sampled_from(["uri", "version", "digest", "bytes", "opset", "parity"]), SAID)
MESSAGE = st.fixed_dictionaries(
    {"outcome": st.sampled_from(["Published", "Failed", "Trained"]) | SAID},
    optional={
        "reason": SAID,
        "message": SAID,
        "progress": PROGRESS | SAID,
        "result": SAID,
        "artifact": ARTIFACT | SAID,
    },
)


@settings(max_examples=300)
@given(message=MESSAGE, exit_code=st.sampled_from([0, 1, 143]))
def test_whatever_a_pod_says_at_its_end_the_status_can_be_written(message: Any, exit_code: int) -> None:
    run = Run(trainjob(policy={"retries": 0}))
    run.step()
    run.set("digits-1-0", ended(exit_code, message))
    run.step(11)
    assert run.status["phase"] in ("Complete", "Failed")
    json.dumps(run.status, ensure_ascii=False, allow_nan=False).encode()
    assert all(abs(number) < 2**53 for number in integers(run.status))
    assert "" not in texts(run.status)


def integers(value: Any) -> list[int]:
    """Every whole number in it, however deep."""
    if isinstance(value, dict | list):
        return [found for inner in (value.values() if isinstance(value, dict) else value) for found in integers(inner)]
    return [value] if isinstance(value, int) else []


def texts(value: Any) -> list[str]:
    """Every text in it, however deep."""
    if isinstance(value, dict | list):
        return [found for inner in (value.values() if isinstance(value, dict) else value) for found in texts(inner)]
    return [value] if isinstance(value, str) else []


ENDS: list[Any] = [
    ended(0, PUBLISHED, reason="Completed"),
    ended(1, failed("UserError", "a")),
    ended(1, failed("StoreError", "b")),
    ended(137, "", reason="OOMKilled"),
    ended(143),
    ended(14, failed("RankLost")),
    {"phase": "Failed", "reason": "Evicted", "message": "disk"},
    RUNNING,
    "deleted",
    "nothing",
]


@settings(max_examples=150)
@given(
    size=st.integers(1, 3),
    moves=st.lists(st.tuples(st.integers(0, 2), st.sampled_from(ENDS), st.integers(0, 40)), max_size=25),
)
def test_whatever_happens_to_the_pods_no_two_attempts_live_at_once(size: int, moves: list[Any]) -> None:
    run, clock = gang(size), 0
    for rank, what, pause in moves:
        live = [name for name in run.pods() if run.children[name]["status"]["phase"] not in ("Succeeded", "Failed")]
        if rank < len(live) and what == "deleted":
            del run.children[live[rank]]
        elif rank < len(live) and what != "nothing":
            run.set(live[rank], what)
        clock += pause
        run.step(clock)
        attempts = {
            run.children[name]["metadata"]["labels"][labels.ATTEMPT]
            for name in run.pods()
            if run.children[name]["status"]["phase"] not in ("Succeeded", "Failed")
        }
        assert len(attempts) <= 1
        open_attempts = [attempt for attempt in run.status["attempts"] if "completionTime" not in attempt]
        assert open_attempts in ([], run.status["attempts"][-1:])
        assert run.status == json.loads(json.dumps(run.status))


def succeeded() -> Run:
    """A run whose first attempt published version 1, as its status says."""
    run = Run(trainjob())
    run.step()
    run.set("digits-1-0", ended(0, PUBLISHED, reason="Completed"))
    run.step(11)
    assert run.status["phase"] == "Complete"
    return run


def written_over(run: Run, *conditions: Object) -> None:
    """What a replica with an old view left of the end: the attempts stay, the conditions are its own."""
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
