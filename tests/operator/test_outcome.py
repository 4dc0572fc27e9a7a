"""How the end of a pod is interpreted."""

from __future__ import annotations

import pytest

from tests.operator.support import NOW, PUBLISHED, after, at, ended, failed
from trainserve.operator.objects import Object
from trainserve.operator.trainjob.outcome import of_gang, of_pod


def disrupted(reason: str) -> Object:
    target = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "m"}
    return ended(137) | {"conditions": [target]}


@pytest.mark.parametrize(
    ("status", "reason", "infrastructure"),
    [
        (ended(1, failed("UserError")), "UserError", False),
        (ended(10, failed("GateNotMet")), "GateNotMet", False),
        (ended(13, failed("StoreError")), "StoreError", False),
        (ended(143, failed("Interrupted")), "UserError", False),
        (ended(143), "UserError", False),
        (ended(1, failed("NodeLost")), "UserError", False),
        (ended(1, failed("Preempted")), "UserError", False),
        (ended(1, failed("Whatever it likes")), "UserError", False),
        (ended(3, "boom"), "UserError", False),
        (ended(128, "exec: no such file", reason="StartError"), "UserError", False),
        (ended(137, reason="OOMKilled"), "OutOfMemory", False),
        (ended(137, reason="ContainerStatusUnknown"), "NodeLost", True),
        ({"phase": "Failed", "reason": "Evicted"}, "Preempted", True),
        ({"phase": "Failed", "reason": "NodeLost"}, "NodeLost", True),
        ({"phase": "Failed", "reason": "OutOfcpu"}, "NodeRefused", True),
        ({"phase": "Failed", "reason": "UnexpectedAdmissionError"}, "NodeRefused", True),
        ({"phase": "Failed"}, "NodeLost", True),
        (disrupted("PreemptionByScheduler"), "Preempted", True),
        (disrupted("DeletionByTaintManager"), "NodeLost", True),
    ],
)
def test_a_failed_pod_has_a_reason_and_somebody_to_blame(status: Object, reason: str, infrastructure: bool) -> None:
    outcome = of_pod({"metadata": {}, "status": status})
    assert outcome is not None
    assert (outcome.reason, outcome.infrastructure, outcome.succeeded) == (reason, infrastructure, False)


def test_what_a_users_command_said_last_is_part_of_the_message() -> None:
    outcome = of_pod({"metadata": {}, "status": ended(3, "Traceback: boom\n")})
    assert outcome is not None
    assert outcome.message == "exit code 3: Traceback: boom"


@pytest.mark.parametrize("status", [{}, {"phase": "Pending"}, {"phase": "Running"}, {"phase": "Unknown"}])
def test_a_pod_that_goes_on_has_no_outcome(status: Object) -> None:
    assert of_pod({"metadata": {}, "status": status}) is None


def test_success_carries_what_was_measured_and_published() -> None:
    outcome = of_pod({"metadata": {}, "status": ended(0, PUBLISHED, reason="Completed")})
    assert outcome is not None
    assert outcome.succeeded
    assert outcome.result == {"accuracy": 0.97, "loss": 0.1}
    assert outcome.artifact == PUBLISHED["artifact"]


def test_a_message_of_a_later_release_is_refused_with_its_version() -> None:
    succeeded = of_pod({"metadata": {}, "status": ended(0, PUBLISHED | {"formatVersion": 2}, reason="Completed")})
    failing = of_pod({"metadata": {}, "status": ended(10, failed("GateNotMet") | {"formatVersion": 2})})
    assert succeeded is not None and failing is not None
    assert (succeeded.reason, failing.reason) == ("InvalidResult", "UserError")
    for outcome in (succeeded, failing):
        assert "formatVersion 2, and this release reads up to 1" in outcome.message


def test_an_artifact_that_cannot_be_read_is_no_success() -> None:
    outcome = of_pod(
        {"metadata": {}, "status": ended(0, PUBLISHED | {"artifact": {"version": "one"}}, reason="Completed")}
    )
    assert outcome is not None
    assert (outcome.reason, outcome.succeeded) == ("InvalidResult", False)


@pytest.mark.parametrize(
    "text",
    [
        "not json",
        "[]",
        '"x"',
        '{"outcome": 3}',
        '{"outcome": "Failed"',
        "\x00",
        "[" * 4000,
        '{"outcome":' * 300,
        r'{"outcome": "Failed", "reason": "DataError", "message": "\ud800"}',
    ],
)
def test_a_termination_message_that_is_not_ours_is_text(text: str) -> None:
    outcome = of_pod({"metadata": {}, "status": ended(1, text)})
    assert outcome is not None
    assert outcome.reason == "UserError"


@pytest.mark.parametrize(
    "progress",
    [
        {"step": 10**30},
        {"epoch": -1},
        {"loss": 10**400},
        {"updatedTime": "yesterday"},
        {"updatedTime": "2026-13-22T16:00:00Z"},
        {"gpuMemoryBytes": 2**63},
        {"percent": 101},
    ],
)
def test_progress_that_a_status_cannot_hold_is_left_out(progress: Object) -> None:
    outcome = of_pod({"metadata": {}, "status": ended(0, PUBLISHED | {"progress": progress}, reason="Completed")})
    assert outcome is not None
    assert (outcome.succeeded, outcome.progress) == (True, None)


@pytest.mark.parametrize("change", [{"bytes": 2**63}, {"version": 2**40}, {"opset": 10**30}, {"uri": ""}])
def test_an_artifact_that_a_status_cannot_hold_is_no_success(change: Object) -> None:
    artifact = PUBLISHED["artifact"] | change
    outcome = of_pod({"metadata": {}, "status": ended(0, PUBLISHED | {"artifact": artifact}, reason="Completed")})
    assert outcome is not None
    assert (outcome.reason, outcome.succeeded) == ("InvalidResult", False)


def test_a_lost_peer_explains_the_errors_of_the_others() -> None:
    pods = {
        "a": {"metadata": {}, "status": ended(1, failed("UserError", "NCCL"))},
        "b": {"metadata": {}, "status": {"phase": "Failed", "reason": "Evicted"}},
    }
    outcome = of_gang(["a", "b"], pods, after(11))
    assert outcome is not None
    assert outcome.reason == "Preempted"


def test_bad_data_explains_the_errors_of_the_peers_that_it_took_down() -> None:
    pods = {
        "a": {"metadata": {}, "status": ended(1, failed("UserError", "connection closed by peer"))},
        "b": {"metadata": {}, "status": ended(1, failed("DataError", "a.npz: truncated"))},
    }
    outcome = of_gang(["a", "b"], pods, after(11))
    assert outcome is not None
    assert (outcome.reason, outcome.message) == ("DataError", "a.npz: truncated")


def test_a_pod_that_lost_its_peer_leaves_the_peer_time_to_say_why() -> None:
    lost = {"metadata": {}, "status": ended(14, failed("RankLost"))}
    running: Object = {"metadata": {}, "status": {"phase": "Running"}}
    assert of_gang(["a", "b"], {"a": lost, "b": running}, after(15)) is None
    for other in (ended(1, failed("UserError", "boom")), ended(137, reason="OOMKilled")):
        explained = of_gang(["a", "b"], {"a": lost, "b": {"metadata": {}, "status": other}}, after(15))
        assert explained is not None
        assert explained.reason in ("UserError", "OutOfMemory")
    unexplained = of_gang(["a", "b"], {"a": lost, "b": running}, after(21))
    assert unexplained is not None
    assert unexplained.reason == "RankLost"


def test_a_pod_that_was_told_to_stop_was_interrupted_whatever_torchrun_exits_with() -> None:
    told = {"metadata": {"deletionTimestamp": at(5)}, "status": ended(1, "SignalException: Process 7 got signal: 15")}
    outcome = of_pod(told)
    assert outcome is not None
    assert outcome.reason == "Interrupted"
    outcome = of_pod(told | {"status": ended(143, failed("Interrupted"))})
    assert outcome is not None
    assert (outcome.reason, outcome.infrastructure) == ("Interrupted", True)
    outcome = of_pod(told | {"status": ended(1, failed("DataError"))})
    assert outcome is not None
    assert outcome.reason == "DataError"


def test_a_gang_is_done_only_when_every_pod_is() -> None:
    done = {"metadata": {}, "status": ended(0, PUBLISHED, reason="Completed")}
    assert of_gang(["a", "b"], {"a": done, "b": {"metadata": {}, "status": {"phase": "Running"}}}, NOW) is None
    outcome = of_gang(["a", "b"], {"a": done, "b": {"metadata": {}, "status": ended(0, "", reason="Completed")}}, NOW)
    assert outcome is not None
    assert outcome.artifact == PUBLISHED["artifact"]
