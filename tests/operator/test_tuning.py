"""A latency objective: measured once by a pod, recorded in the status, and used for serving."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.operator.serving import FIRST, OTHER, SECOND, SUFFIX, UNSCHEDULABLE, Serve
from tests.operator.support import at, condition, ended, failed
from trainserve.operator.objects import Object
from trainserve.operator.plan import Delete

HELD: Object = {
    "outcome": "Tuned",
    "held": True,
    "message": "maxBatch 8 without delay, 2 instances of 1 thread: p99 17 ms at 812/s",
    "instances": 2,
    "threads": 1,
    "maxBatch": 8,
    "p99Ms": 17.0,
    "requestsPerSecond": 812.0,
}
NEEDED: Object = {
    "outcome": "Tuned",
    "held": False,
    "message": "nothing holds p99 1 ms: an objective of 4 ms is feasible",
}


def serve(*jobs: Object, **spec: Any) -> Serve:
    return Serve(*(jobs or (FIRST,)), model={"name": "digits", "version": 1}, slo={"p99": "20ms"}, **spec)


def tuner(objective: Serve) -> str:
    (name,) = (name for name in objective.pods() if "-tune-" in name)
    return name


def answer(objective: Serve, message: Object, exit_code: int = 0) -> None:
    objective.children["Pod", tuner(objective)]["status"] = ended(exit_code, message, container="tune")


def test_it_is_measured_before_anything_is_served() -> None:
    objective = serve()
    objective.step()
    assert objective.deployments() == []
    tuned = condition(objective.status, "Tuned")
    assert (tuned["status"], tuned["reason"]) == ("Unknown", "Measuring")
    assert condition(objective.status, "Progressing")["reason"] == "Tuning"
    assert objective.status["phase"] == "Starting"
    assert objective.step(5).create == []


def test_what_holds_it_is_served_with_and_remembered() -> None:
    objective = serve(triton={"responseCache": True, "dynamicBatching": {"queue": {"size": 9}}})
    objective.step()
    answer(objective, HELD)
    assert [event.reason for event in objective.step(60).events] == ["ObjectiveHeld"]
    assert objective.step(61).events == []
    told = objective.settings(SUFFIX)
    assert (told["instances"], told["threads"], told["responseCache"]) == (2, 1, True)
    assert told["dynamicBatching"] == {"maxBatch": 8, "queue": {"size": 9}}
    assert condition(objective.status, "Tuned")["reason"] == "ObjectiveHeld"
    assert condition(objective.status, "Tuned")["message"] == HELD["message"]
    assert (
        objective.status["tuning"].items() >= {"objective": "20ms", "held": True, "maxBatch": 8, "p99Ms": 17.0}.items()
    )


def test_the_pod_stays_until_the_status_says_what_it_found() -> None:
    objective = serve()
    unwritten = objective.step().status
    name = tuner(objective)
    answer(objective, HELD)
    assert objective.step(60).delete == []
    objective.object["status"] = unwritten
    assert objective.step(61).delete == []
    assert objective.step(62).delete == [Delete("Pod", name)]
    after = objective.step(63)
    assert (after.create, after.apply, after.delete) == ([], [], [])
    assert objective.settings(SUFFIX)["instances"] == 2


def test_an_objective_out_of_reach_is_served_as_written_and_says_what_would_be_needed() -> None:
    objective = serve(triton={"instances": 3})
    objective.step()
    answer(objective, NEEDED)
    told = objective.step(60)
    assert objective.settings(SUFFIX)["instances"] == 3
    tuned = condition(objective.status, "Tuned")
    assert (tuned["status"], tuned["reason"], tuned["message"]) == ("False", "NotReachable", NEEDED["message"])
    assert [event.reason for event in told.events] == ["NotReachable"]


def test_a_new_version_is_measured_while_the_old_one_goes_on_serving() -> None:
    objective = serve()
    objective.step()
    answer(objective, HELD)
    objective.step(60)
    objective.make_ready(SUFFIX)
    objective.step(61)
    objective.jobs.append(SECOND)
    objective.object["spec"]["model"] = {"name": "digits", "version": 2}
    objective.step(70)
    assert objective.deployments() == [f"digits-{SUFFIX}"]
    assert (objective.status["phase"], objective.status["version"]) == ("Updating", 1)
    answer(objective, HELD | {"instances": 4})
    objective.step(130)
    assert objective.settings(OTHER)["instances"] == 4


@pytest.mark.parametrize(
    ("spec", "again"),
    [
        ({"slo": {"p99": "10ms"}}, True),
        ({"slo": {"p99": "20ms", "measureSeconds": 600}}, True),
        ({"resources": {"cpu": "4"}}, True),
        ({"triton": {"image": "other"}}, True),
        ({"triton": {"overrides": {"optimization": {}}}}, True),
        ({"replicas": 3}, False),
        ({"triton": {"instances": 7, "dynamicBatching": {"maxBatch": 32}}}, False),
    ],
)
def test_only_what_decides_the_answer_is_measured_again(spec: Object, again: bool) -> None:
    objective = serve()
    objective.step()
    answer(objective, HELD)
    objective.step(60)
    objective.step(61)
    objective.object["spec"] |= spec
    assert bool([pod for pod in objective.step(70).create if "-tune-" in pod["metadata"]["name"]]) is again


def test_a_tuner_that_finds_no_node_says_so() -> None:
    objective = serve()
    objective.step()
    objective.children["Pod", tuner(objective)]["status"] = {"phase": "Pending", "conditions": [UNSCHEDULABLE]}
    objective.step(5)
    tuned = condition(objective.status, "Tuned")
    assert (tuned["status"], tuned["reason"]) == ("Unknown", "Unschedulable")
    assert "Insufficient cpu" in condition(objective.status, "Progressing")["message"]


def test_a_tuner_that_fails_leaves_the_service_as_it_is_written() -> None:
    objective = serve()
    objective.step()
    name = tuner(objective)
    answer(objective, failed("TuningFailed", "the server ended"), exit_code=1)
    objective.step(60)
    assert objective.settings(SUFFIX)["instances"] == 1
    tuned = condition(objective.status, "Tuned")
    assert (tuned["status"], tuned["reason"], tuned["message"]) == ("False", "TuningFailed", "the server ended")
    assert objective.step(61).delete == [Delete("Pod", name)], "its server would hold what the service needs"
    after = objective.step(10_000)
    assert (after.create, after.apply, after.delete) == ([], [], []), "it would fail again"
    assert condition(objective.status, "Tuned")["reason"] == "TuningFailed"


def test_what_the_tuner_still_holds_is_no_trouble_of_the_service_that_comes_after_it() -> None:
    objective = serve()
    objective.step()
    answer(objective, HELD)
    objective.step(60)
    objective.add_pod(SUFFIX, {"phase": "Pending", "conditions": [UNSCHEDULABLE]})
    going = objective.children["Pod", tuner(objective)]
    objective.step(61)
    objective.children["Pod", going["metadata"]["name"]] = going
    told = objective.step(62)
    assert (condition(objective.status, "Progressing")["reason"], told.events) == ("RollingOut", [])
    objective.step(63)
    assert condition(objective.status, "Progressing")["reason"] == "Unschedulable"


def test_a_server_that_ran_out_of_memory_is_what_the_tuner_failed_of() -> None:
    objective = serve(resources={"memory": "64Mi"})
    objective.step()
    answer(objective, failed("TuningFailed", "no server answers at 10.0.0.9:8000 any more"), exit_code=1)
    killed = {"name": "triton", "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}
    objective.children["Pod", tuner(objective)]["status"]["containerStatuses"].append(killed)
    objective.step(60)
    assert condition(objective.status, "Tuned")["reason"] == "OutOfMemory"


def test_an_evicted_tuner_is_made_anew() -> None:
    objective = serve()
    objective.step()
    name = tuner(objective)
    objective.children["Pod", name]["metadata"]["creationTimestamp"] = at(0)
    objective.children["Pod", name]["status"] = {"phase": "Failed", "reason": "Evicted"}
    assert objective.step(60).requeue_after == 240.0
    assert condition(objective.status, "Tuned")["message"] == "the tuning pod ended without a message"
    assert objective.step(301).delete == [Delete("Pod", name)]


@pytest.mark.parametrize("change", [{"instances": 10**6}, {"message": ""}, {"p99Ms": -1}, {"held": "yes"}])
def test_an_answer_that_is_none_is_not_served_with(change: Object) -> None:
    objective = serve()
    objective.step()
    answer(objective, HELD | change)
    objective.step(60)
    assert condition(objective.status, "Tuned")["reason"] == "TuningFailed"
    assert objective.settings(SUFFIX)["instances"] == 1


SAID: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats() | st.text(max_size=3)
)


@settings(max_examples=200)
@given(st.dictionaries(st.sampled_from(["outcome", "reason", *HELD]), SAID), st.booleans())
def test_whatever_the_tuner_says_the_status_can_be_written(said: Object, nearly: bool) -> None:
    objective = serve()
    objective.step()
    answer(objective, (HELD if nearly else {}) | said)
    for second in (60, 61):
        objective.step(second)
        json.dumps(objective.status, ensure_ascii=False, allow_nan=False).encode()
        assert all(found["reason"] and found["message"] for found in objective.status["conditions"])


def test_without_an_objective_nothing_of_it_stays() -> None:
    objective = serve()
    objective.step()
    answer(objective, HELD)
    objective.step(60)
    objective.step(61)
    del objective.object["spec"]["slo"]
    objective.step(70)
    assert "tuning" not in objective.status
    assert condition(objective.status, "Tuned")["reason"] == "NotNeeded"
    assert objective.settings(SUFFIX)["instances"] == 1


def test_the_tuner_measures_on_the_hardware_and_with_the_settings_of_the_service() -> None:
    objective = serve(resources={"cpu": "3500m", "gpus": 1}, triton={"responseCache": True})
    (pod,) = objective.step().create
    triton, measuring = pod["spec"]["containers"]
    assert (pod["spec"]["restartPolicy"], "trainserve.io/version" in pod["metadata"]["labels"]) == ("Never", False)
    assert triton["resources"]["limits"] == {"cpu": "3500m", "memory": "4Gi", "nvidia.com/gpu": "1"}
    assert "--model-control-mode=explicit" in triton["command"]
    assert "--model-control-mode=none" not in triton["command"]
    closed = "shared-memory,trace,logging,model-repository:trainserve-pod=$(POD_UID)"
    restricted = [flag for flag in triton["command"] if "restricted" in flag]
    assert restricted == [f"--http-restricted-api={closed}", f"--grpc-restricted-protocol={closed}"], "to all but tune"
    assert [each["name"] for each in measuring["env"]] == ["POD_IP", "POD_UID"]
    command = measuring["command"]
    options = dict(zip(command[4::2], command[5::2], strict=True))
    assert command[:4] == ["python", "-m", "trainserve.serving", "tune"]
    assert (options["--p99"], options["--minutes"]) == ("20ms", "4")
    assert (options["--cores"], options["--gpus"]) == ("3", "1")
    assert measuring["resources"]["limits"].keys() == {"cpu", "memory"}, "no GPU: that is the server's"
