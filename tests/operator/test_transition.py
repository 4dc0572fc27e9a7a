"""The log: one line for each transition that a user would ask about, and the metrics counted with it."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any, Literal

import pytest

from tests.operator.serving import FIRST, OTHER, SECOND, SUFFIX, UNSCHEDULABLE, Serve
from tests.operator.support import (
    DIGEST,
    NOW,
    OTHER_DIGEST,
    PUBLISHED,
    RUNNING,
    Run,
    after,
    at,
    ended,
    failed,
    trainjob,
)
from trainserve.api.reasons import OF_ATTEMPTS
from trainserve.operator.modelserve import transition as modelserve
from trainserve.operator.objects import Object
from trainserve.operator.trainjob import transition as trainjobs
from trainserve.operator.transition import Transition, tell

SHORT, OTHER_SHORT = "ab" * 6, "cd" * 6


class Life:
    """A TrainJob whose log lines are read after every step."""

    def __init__(self, **spec: Any) -> None:
        self.run = Run(trainjob(**spec))
        self.before: Object = {}

    def step(self, seconds: float = 0.0) -> str | None:
        self.run.step(seconds)
        told = trainjobs.transition(self.before, self.run.status)
        self.before = self.run.status
        return None if told is None else told.words()


def test_a_run_that_goes_well_is_three_lines() -> None:
    life = Life()
    assert life.step() == "New -> Pending: Pending, attempt 1"
    assert life.step() is None
    life.run.set("digits-1-0", RUNNING)
    assert life.step(1) == "Pending -> Running: Running, attempt 1"
    assert life.step(2) is None
    life.run.set("digits-1-0", ended(0, PUBLISHED, reason="Completed"))
    assert life.step(3) == "Running -> Complete: Succeeded, attempt 1, version 1"
    assert life.step(4) is None


def test_a_restart_says_why_the_attempt_before_it_ended() -> None:
    life = Life()
    life.step()
    life.run.set("digits-1-0", RUNNING)
    life.step(1)
    life.run.set("digits-1-0", {"phase": "Failed", "reason": "Evicted", "message": "disk"})
    assert life.step(20) == "Running -> Restarting: Preempted, attempt 1"
    assert life.step(20.5) is None
    assert life.step(22) == "Restarting -> Pending: Preempted, attempt 2"
    life.run.set("digits-2-0", RUNNING)
    assert life.step(23) == "Pending -> Running: Running, attempt 2"
    life.run.set("digits-2-0", ended(1, failed("DataError")))
    assert life.step(30) == "Running -> Failed: DataError, attempt 2"


def test_an_attempt_that_follows_at_once_is_a_line_although_the_phase_stays() -> None:
    life = Life()
    life.step()
    life.run.set("digits-1-0", ended(137, reason="OOMKilled"))
    assert life.step(600) == "Pending -> Pending: OutOfMemory, attempt 2", "the operator was away for minutes"


def test_what_a_job_waits_for_is_told_and_no_progress_is() -> None:
    life = Life()
    life.step()
    life.run.set("digits-1-0", {"phase": "Pending", "conditions": [UNSCHEDULABLE]})
    assert life.step(1) == "Pending -> Unschedulable: Unschedulable, attempt 1"
    waiting = {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "m"}}, "name": "trainer"}
    scheduled = [{"type": "PodScheduled", "status": "True"}]
    life.run.set("digits-1-0", {"phase": "Pending", "conditions": scheduled, "containerStatuses": [waiting]})
    assert life.step(2) == "Unschedulable -> Pending: ImagePull, attempt 1"
    life.run.set("digits-1-0", RUNNING)
    life.step(3)
    life.run.step(4, progress={"epoch": 2, "epochs": 5})
    assert trainjobs.transition(life.before, life.run.status) is None


def test_a_job_that_is_refused_has_no_attempt() -> None:
    assert Life(model={"name": "no such network"}, dataset={"nonsense": 1}).step() == "New -> Refused: Invalid"


def test_a_second_attempt_is_not_the_first_time_that_a_job_runs() -> None:
    over, next_one = {"number": 1, "completionTime": at(60)}, {"number": 2}
    stopped = {"conditions": [{"type": "Running", "status": "False", "reason": "Interrupted"}]}
    assert not trainjobs.has_run({"attempts": [{"number": 1}]})
    assert trainjobs.has_run({**stopped, "attempts": [over]})
    assert trainjobs.has_run({**stopped, "attempts": [over, next_one]})


@pytest.mark.parametrize("reason", ["NameTaken", "Rejected", "Replacing"])
def test_what_stands_in_a_job_s_way_is_its_reason(reason: str) -> None:
    conditions = [{"type": "Accepted", "status": "True", "reason": "Accepted"}]
    conditions.append({"type": "Scheduled", "status": "False", "reason": reason})
    told = trainjobs.transition({}, {"phase": "Pending", "conditions": conditions})
    assert told == Transition("New", "Pending", reason)


class Service:
    """A ModelServe whose log lines are read after every step."""

    def __init__(self, *jobs: Object, **spec: Any) -> None:
        self.serve = Serve(*jobs, **spec)
        self.before: Object = {}

    def step(self, seconds: float = 0.0) -> str | None:
        self.serve.step(seconds)
        told = modelserve.transition(self.before, self.serve.status)
        self._outcome = modelserve.rollout(self.before, self.serve.status)
        self.before = self.serve.status
        return None if told is None else told.words()

    def outcome(self) -> Literal["completed", "failed"] | None:
        """Return how the rollout ended with the last step; None if it did not."""
        return self._outcome


def test_a_service_that_follows_a_model_tells_each_version() -> None:
    service = Service(FIRST, model={"trainJob": "one"})
    assert service.step() == "New -> Starting: RollingOut"
    assert (service.step(1), service.outcome()) == (None, None)
    service.serve.make_ready(SUFFIX)
    assert service.step(5) == f"Starting -> Ready: Serving, version 1, digest {SHORT}"
    assert service.outcome() == "completed"
    assert (service.step(6), service.outcome()) == (None, None)
    service.serve.jobs = [SECOND]
    service.serve.object["spec"]["model"]["trainJob"] = "two"
    assert service.step(10) == f"Ready -> Updating: RollingOut, version 1, digest {SHORT}"
    service.serve.make_ready(OTHER)
    assert service.step(15) == f"Updating -> Ready: Serving, version 2, digest {OTHER_SHORT}"
    assert service.outcome() == "completed"


def test_a_rollout_that_fails_is_told_and_counted_once_and_again_when_it_is_mended() -> None:
    service = Service(FIRST, model={"trainJob": "one"})
    service.step()
    service.serve.add_pod(SUFFIX, {"phase": "Pending", "conditions": [UNSCHEDULABLE]})
    assert service.step(1) == "Starting -> Failed: Unschedulable"
    assert service.outcome() == "failed"
    assert (service.step(2), service.outcome()) == (None, None)
    service.serve.make_ready(SUFFIX)
    assert service.step(5) == f"Failed -> Ready: Serving, version 1, digest {SHORT}"
    assert service.outcome() == "completed"


def test_a_service_whose_model_is_not_there_waits_and_says_why() -> None:
    assert Service(model={"trainJob": "one"}).step() == "New -> Waiting: TrainJobNotFound"


def test_a_service_scaled_to_nothing_says_so() -> None:
    service = Service(FIRST, model={"trainJob": "one"}, replicas=0)
    service.step()
    service.serve.children["Deployment", f"digits-{SUFFIX}"]["status"] = {"observedGeneration": 1}
    assert service.step(1) == f"Starting -> Starting: ScaledToZero, version 1, digest {SHORT}"


def test_a_line_names_the_object_and_has_its_parts_as_fields(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    tell(logging.getLogger("t"), trainjob(), Transition("Running", "Restarting", "OutOfMemory", {"attempt": 1}))
    (record,) = caplog.records
    assert record.getMessage() == "TrainJob default/digits: Running -> Restarting: OutOfMemory, attempt 1, uid job-uid"
    fields = vars(record)
    assert fields["object"] == {"kind": "TrainJob", "namespace": "default", "name": "digits", "uid": "job-uid"}
    assert [fields[name] for name in ("from", "to", "reason", "attempt")] == ["Running", "Restarting", "OutOfMemory", 1]


def attempt(number: int, reason: str | None = None) -> Object:
    over = {"completionTime": at(number), "reason": reason} if reason else {}
    return {"number": number, "startTime": at(0), **over}


@pytest.mark.parametrize(
    ("before", "now", "counted"),
    [
        ([], [attempt(1)], []),
        ([attempt(1)], [attempt(1, "NodeLost")], ["NodeLost"]),
        ([attempt(1, "NodeLost")], [attempt(1, "NodeLost"), attempt(2)], []),
        ([attempt(1, "NodeLost"), attempt(2)], [attempt(1, "NodeLost"), attempt(2, "Succeeded")], ["Succeeded"]),
        ([attempt(1)], [attempt(1, "UserError"), attempt(2, "Preempted"), attempt(3)], ["UserError", "Preempted"]),
        ([attempt(1, "A"), attempt(2, "B")], [attempt(1, "A"), attempt(3)], []),
    ],
)
def test_an_attempt_counts_when_its_end_is_written_and_once(before: Any, now: Any, counted: list[str]) -> None:
    assert trainjobs.ended({"attempts": before}, {"attempts": now}) == counted


@pytest.mark.parametrize("end", [ended(137, reason="OOMKilled"), ended(0, {"outcome": "Trained"}), ended(1, "?")])
def test_every_reason_of_an_attempt_is_known_beforehand(end: Object) -> None:
    run = Run(trainjob())
    run.step()
    run.set("digits-1-0", end)
    run.step(1)
    assert run.reasons()[0] in OF_ATTEMPTS


def test_a_version_counts_as_published_when_it_is_first_written() -> None:
    artifact = {"artifact": PUBLISHED["artifact"]}
    assert trainjobs.published({}, artifact)
    assert not trainjobs.published(artifact, artifact)
    assert not trainjobs.published({}, {})


def job_of(model: str, digest: str, finished: float, name: str = "one") -> Object:
    status = {"artifact": {"digest": digest, "version": 1}, "completionTime": at(finished)}
    return trainjob(name, status=status, output={"model": model})


def following(made: float = 0, **model: Any) -> Object:
    metadata = {"name": "web", "namespace": "default", "creationTimestamp": at(made)}
    return {"kind": "ModelServe", "metadata": metadata, "spec": {"model": model}}


@pytest.mark.parametrize(
    ("serve", "seconds"),
    [
        (following(name="digits"), 30),
        (following(trainJob="one"), 30),
        (following(name="digits", version=1), None),
        (following(name="other"), None),
        (following(trainJob="two"), None),
        (following(uri="file:///srv/models/default/digits/1", digest=DIGEST), None),
        (following(made=61, name="digits"), None),
    ],
    ids=["model", "job", "pinned", "another model", "another job", "address", "made later"],
)
def test_from_publish_to_serving_is_of_services_that_follow_and_were_there(
    serve: Object, seconds: float | None
) -> None:
    jobs = [job_of("digits", DIGEST, 60), job_of("digits", OTHER_DIGEST, 80), trainjob("running")]
    assert modelserve.publish_to_serving(serve, DIGEST, jobs, after(90)) == seconds


def test_from_publish_to_serving_is_never_less_than_nothing() -> None:
    """The node's clock may be ahead."""
    jobs = [job_of("digits", DIGEST, 60)]
    assert modelserve.publish_to_serving(following(name="digits"), DIGEST, jobs, NOW + timedelta(seconds=59)) == 0


def test_the_latest_of_two_runs_that_published_the_same_bytes_is_meant() -> None:
    jobs = [job_of("digits", DIGEST, 60), job_of("digits", DIGEST, 80, "two")]
    assert modelserve.publish_to_serving(following(name="digits"), DIGEST, jobs, after(90)) == 10


def test_history_that_forgets_its_oldest_entry_has_a_newest_all_the_same() -> None:
    entries = [{"digest": str(number), "time": at(number)} for number in range(11)]
    assert modelserve.rollout({"history": entries[:10]}, {"history": entries[1:]}) == "completed"
    assert modelserve.rollout({"history": entries[1:]}, {"history": entries[1:]}) is None
