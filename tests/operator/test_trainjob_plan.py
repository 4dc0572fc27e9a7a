"""Planning the next step of a TrainJob from its spec, its pods and the time."""

from __future__ import annotations

import pytest

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
    pod_of,
    trainjob,
)
from trainserve.operator import labels
from trainserve.operator.objects import Object
from trainserve.operator.settings import Settings
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
    """Return a run whose second attempt exists but is not recorded, nor is the end of the first: the write was lost."""
    run = Run(job)
    run.step()
    recorded = run.status
    run.set("digits-1-0", ended(1, failed("UserError", "first")))
    run.step(60)
    assert run.pods() == ["digits-1-0", "digits-2-0"]
    run.job = run.job | {"status": recorded}
    del run.children["ConfigMap/digits-2"]  # creating it again returns the existing one
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
