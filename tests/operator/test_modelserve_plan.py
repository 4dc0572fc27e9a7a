"""Planning the next step of a ModelServe from its spec, its children and the TrainJobs of its namespace."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.operator.serving import (
    BAD_CONFIG,
    FIRST,
    OTHER,
    SECOND,
    SUFFIX,
    UNSCHEDULABLE,
    VERIFIED,
    Serve,
)
from tests.operator.support import DIGEST, at, condition, ended, failed
from trainserve.operator.objects import Object


def test_a_resolved_version_gets_a_deployment_and_a_service() -> None:
    serve = Serve(FIRST)
    serve.step()
    assert serve.deployments() == [f"digits-{SUFFIX}"]
    assert serve.active() == SUFFIX
    assert condition(serve.status, "ModelResolved")["status"] == "True"
    assert condition(serve.status, "Ready")["status"] == "False"
    assert serve.status["phase"] == "Starting"
    assert serve.status["url"] == "http://digits.default.svc:8000"
    assert serve.status["grpcUrl"] == "digits.default.svc:8001"
    assert "version" not in serve.status


def test_a_verified_version_takes_traffic() -> None:
    serve = Serve.ready(FIRST)
    assert condition(serve.status, "Ready")["status"] == "True"
    assert condition(serve.status, "Verified")["reason"] == "SamplesMatch"
    assert serve.status["phase"] == "Ready"
    assert serve.status["version"] == 1
    assert serve.status["digest"] == DIGEST
    assert serve.status["replicas"] == {"desired": 1, "ready": 1}
    assert serve.status["latency"] == {"p50Ms": 0.7, "p99Ms": 2.1}
    assert serve.status["history"] == [{"version": 1, "digest": DIGEST, "time": at(5)}]


def test_planning_again_without_news_changes_nothing() -> None:
    serve = Serve.ready(FIRST)
    status = serve.status
    again = serve.step(60)
    assert (again.apply, again.create, again.delete) == ([], [], [])
    assert again.status == status


def test_the_service_moves_only_when_the_new_version_is_available_and_the_old_one_goes_after_that() -> None:
    serve = Serve.ready(FIRST)
    serve.jobs.append(SECOND)
    serve.step(10)
    assert serve.deployments() == sorted([f"digits-{SUFFIX}", f"digits-{OTHER}"])
    assert (serve.active(), serve.status["version"], serve.status["phase"]) == (SUFFIX, 1, "Updating")
    serve.make_ready(OTHER)
    moved = serve.step(11)
    assert (serve.active(), serve.status["version"]) == (OTHER, 2)
    assert moved.delete == []
    assert moved.requeue_after is not None
    serve.step(13)
    assert serve.deployments() == [f"digits-{OTHER}"]
    assert [entry["version"] for entry in serve.status["history"]] == [1, 2]


def test_a_new_version_with_other_bytes_leaves_the_old_one_serving_and_says_why() -> None:
    serve = Serve.ready(FIRST)
    serve.jobs.append(SECOND)
    serve.step(10)
    refused = ended(1, failed("DigestMismatch", "sha256:a is not sha256:b"), container="fetch")
    serve.add_pod(OTHER, {"phase": "Pending", "initContainerStatuses": refused["containerStatuses"]})
    serve.step(12)
    progressing = condition(serve.status, "Progressing")
    assert (progressing["status"], progressing["reason"]) == ("False", "DigestMismatch")
    assert "version 1 goes on serving" in progressing["message"]
    assert condition(serve.status, "Ready")["status"] == "True"
    assert condition(serve.status, "Verified")["reason"] == "DigestMismatch"
    assert (serve.active(), serve.status["version"], serve.status["phase"]) == (SUFFIX, 1, "Degraded")


def test_outputs_that_do_not_match_are_not_served() -> None:
    serve = Serve(FIRST)
    serve.step()
    report = {"verified": False, "reason": "OutputMismatch", "message": "max abs difference 0.5"}
    serve.add_pod(SUFFIX, {"phase": "Running", "podIP": "10.0.0.9"}, report)
    serve.step(5)
    assert condition(serve.status, "Verified")["message"] == "max abs difference 0.5"
    assert condition(serve.status, "Ready")["reason"] == "OutputMismatch"
    assert serve.status["phase"] == "Failed"


def test_a_server_that_answers_no_sample_is_told_as_the_probe_says_it() -> None:
    serve = Serve(FIRST)
    serve.step()
    report = {"verified": None, "reason": "InferenceFailed", "message": "InferenceServerException: CUDA error"}
    serve.add_pod(SUFFIX, {"phase": "Running", "podIP": "10.0.0.9"}, report)
    serve.step(5)
    judged = condition(serve.status, "Verified")
    assert (judged["status"], judged["reason"]) == ("Unknown", "InferenceFailed")
    assert "CUDA error" in judged["message"]
    assert "CUDA error" in condition(serve.status, "Progressing")["message"]
    assert condition(serve.status, "Ready")["reason"] == "InferenceFailed"


def test_a_lone_graph_takes_traffic_and_is_not_called_verified() -> None:
    lone = "https://models.example.org/vision/resnet.onnx"
    serve = Serve(model={"uri": lone, "digest": DIGEST})
    serve.step()
    serve.make_ready(SUFFIX)
    serve.answers[f"digits-{SUFFIX}-x"] = {"verified": True, "reason": "NothingRecorded", "message": "it answers"}
    serve.step(5)
    judged = condition(serve.status, "Verified")
    assert (judged["status"], judged["reason"]) == ("Unknown", "NothingRecorded")
    assert (serve.status["phase"], serve.status["digest"], "version" in serve.status) == ("Ready", DIGEST, False)
    assert condition(serve.status, "Progressing")["message"] == lone
    serve.answers.clear()
    serve.step(6)
    assert condition(serve.status, "Verified") == judged, "nor by an operator that has not asked yet"


@pytest.mark.parametrize(("axis", "status", "reason"), [("first", "True", "Gathered"), ("none", "False", "OneByOne")])
def test_a_service_says_whether_its_requests_are_gathered_and_why(axis: str, status: str, reason: str) -> None:
    serve = Serve.ready(FIRST)
    assert not condition(serve.status, "Batched"), "pods of earlier releases do not say"
    said = {"axis": axis, "reason": "GRU 'g': its first axis is time"}
    serve.answers[f"digits-{SUFFIX}-x"] = VERIFIED | {"batching": said}
    serve.step(10)
    told = condition(serve.status, "Batched")
    assert (told["status"], told["reason"], told["message"]) == (status, reason, "GRU 'g': its first axis is time")
    serve.answers[f"digits-{SUFFIX}-x"] = VERIFIED | {"batching": "yes"}
    serve.step(11)
    assert condition(serve.status, "Batched") == told


@pytest.mark.parametrize("figure", [10**400, True, "fast", float("nan"), None, [1]])
def test_a_latency_that_is_no_figure_is_left_out(figure: Any) -> None:
    serve = Serve.ready(FIRST)
    serve.answers[f"digits-{SUFFIX}-x"] = VERIFIED | {"p99Ms": figure}
    serve.step(10)
    assert serve.status["phase"] == "Ready"
    assert serve.status["latency"].get("p99Ms", 2.1) == 2.1


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ({"conditions": [{"type": "PodScheduled", "status": "False", "message": "no GPU"}]}, "Unschedulable"),
        ({"containerStatuses": [{"name": "triton", "state": {"waiting": {"reason": "ErrImagePull"}}}]}, "ImagePull"),
        ({"containerStatuses": [{"name": "probe", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}, "CrashLoop"),
        ({"containerStatuses": [{"name": "triton", "state": {"terminated": BAD_CONFIG}}]}, "ServerFailed"),
        (
            {
                "containerStatuses": [
                    {
                        "name": "triton",
                        "state": {},
                        "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137}},
                    }
                ]
            },
            "OutOfMemory",
        ),
    ],
)
def test_what_keeps_a_version_from_serving_is_a_reason(status: Object, reason: str) -> None:
    serve = Serve(FIRST)
    serve.step()
    serve.add_pod(SUFFIX, {"phase": "Pending"} | status)
    serve.step(5)
    assert condition(serve.status, "Progressing")["reason"] == reason
    assert condition(serve.status, "Ready")["reason"] == reason


OF_THE_ENSEMBLE = (
    'E1122 22:27:23.091402 25581 model_repository_manager.cc:614] "Invalid argument: ensemble digits-ensemble contains'
    ' models that are not available or ambiguous: digits"\n'
)


@pytest.mark.parametrize("after", ["", OF_THE_ENSEMBLE])
def test_a_server_that_does_not_take_its_configuration_is_told_in_its_own_words(after: str) -> None:
    serve = Serve(FIRST)
    serve.step()
    waiting = {"name": "triton", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}
    end = BAD_CONFIG | {"message": f"{BAD_CONFIG['message']}\n{after}"}
    serve.add_pod(SUFFIX, {"phase": "Running", "containerStatuses": [waiting | {"lastState": {"terminated": end}}]})
    serve.step(5)
    progressing = condition(serve.status, "Progressing")
    assert (progressing["status"], progressing["reason"]) == ("False", "ServerFailed")
    assert progressing["message"] == (
        "digits version 1: tritonserver: Poll failed for model directory 'digits': dynamic batching preferred size must"
        " be <= max batch size for digits"
    )
    assert serve.status["phase"] == "Failed"


def test_a_server_without_a_gpu_is_not_blamed_for_what_it_always_says() -> None:
    serve = Serve(FIRST)
    serve.step()
    usual = 'E1122 22:27:41.832198 25626 server.cc:241] "CudaDriverHelper has not been initialized."\nkilled'
    end = {"terminated": {"exitCode": 137, "reason": "Error", "message": usual}}
    back_off = {"name": "triton", "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": end}
    serve.add_pod(SUFFIX, {"phase": "Running", "containerStatuses": [back_off]})
    serve.step(5)
    progressing = condition(serve.status, "Progressing")
    assert progressing["reason"] == "CrashLoop"
    assert progressing["message"].endswith("container triton keeps exiting, last with exit code 137: killed")


def test_an_available_count_of_an_older_template_is_not_believed() -> None:
    serve = Serve(FIRST)
    serve.step()
    serve.make_ready(SUFFIX)
    serve.children["Deployment", f"digits-{SUFFIX}"]["metadata"]["generation"] = 2
    serve.step(5)
    assert "version" not in serve.status


def test_a_changed_setting_is_applied_to_the_same_deployment() -> None:
    serve = Serve.ready(FIRST)
    serve.object["spec"]["triton"] = {"instances": 2}
    changed = serve.step(10)
    assert [wanted["metadata"]["name"] for wanted in changed.apply] == [f"digits-{SUFFIX}"]
    fetch = changed.apply[0]["spec"]["template"]["spec"]["initContainers"][0]["command"]
    assert json.loads(fetch[fetch.index("--settings") + 1])["instances"] == 2


def test_a_changed_setting_whose_pod_does_not_start_is_not_called_up_to_date() -> None:
    serve = Serve.ready(FIRST)
    old = serve.children["Pod", f"digits-{SUFFIX}-x"]
    serve.object["spec"]["resources"] = {"cpu": "1000"}
    serve.step(10)
    # The old pod still serves; the new one is unschedulable.
    serve.add_pod(SUFFIX, {"phase": "Pending", "conditions": [UNSCHEDULABLE]})
    serve.children["Pod", "old"] = old | {"metadata": old["metadata"] | {"name": "old", "uid": "old"}}
    serve.answers = {"old": VERIFIED}
    counts = {"replicas": 2, "updatedReplicas": 1, "availableReplicas": 1, "readyReplicas": 1}
    serve.children["Deployment", f"digits-{SUFFIX}"]["status"] = {"observedGeneration": 1, **counts}
    serve.step(12)
    progressing = condition(serve.status, "Progressing")
    assert (progressing["status"], progressing["reason"]) == ("False", "Unschedulable")
    assert condition(serve.status, "Verified")["status"] == "Unknown", "the old pod cannot speak for the new setting"
    assert (condition(serve.status, "Ready")["status"], serve.status["phase"]) == ("True", "Degraded")


@pytest.mark.parametrize("text", ["", "no JSON", "[]", '{"model": "digits"}', "[" * 60_000])
def test_an_annotation_that_somebody_has_spoiled_stops_nothing(text: str) -> None:
    serve = Serve.ready(FIRST)
    serve.children["Deployment", f"digits-{SUFFIX}"]["metadata"]["annotations"]["trainserve.io/served-version"] = text
    serve.step(10)
    assert serve.status["phase"] == "Ready"


def test_pods_that_are_ready_are_verified_before_anybody_has_asked_them() -> None:
    serve = Serve(FIRST)
    serve.step()
    serve.make_ready(SUFFIX)
    serve.answers.clear()
    serve.step(5)
    assert condition(serve.status, "Ready")["status"] == "True"
    assert condition(serve.status, "Verified")["status"] == "True"


def test_a_version_that_begins_to_serve_while_a_newer_one_is_on_its_way_is_told() -> None:
    serve = Serve(FIRST)
    serve.step()
    serve.jobs.append(SECOND)
    serve.make_ready(SUFFIX)
    serve.step(5)
    assert (serve.status["phase"], serve.status["version"], serve.status["digest"]) == ("Updating", 1, DIGEST)
    serve.make_ready(OTHER)
    serve.step(10)
    assert (serve.status["version"], [entry["version"] for entry in serve.status["history"]]) == (2, [2])


def test_a_restarted_operator_does_not_unverify_what_serves() -> None:
    serve = Serve.ready(FIRST)
    serve.answers.clear()
    serve.step(10)
    assert condition(serve.status, "Verified")["status"] == "True"


@pytest.mark.parametrize(
    ("spec", "reason", "said"),
    [
        ({"model": {}}, "Invalid", "spec.model"),
        ({"autoscaling": {"max": 3, "target": 2}}, "NotSupported", "spec.autoscaling"),
        ({"model": {"uri": "file:///etc/models/default/digits/1", "digest": DIGEST}}, "Invalid", "spec.model.uri"),
        ({"triton": {"overrides": {"parameters": {"key": "x" * 70_000}}}}, "Invalid", "spec.triton: 70"),
        ({"triton": {"tensorRT": {}}}, "Invalid", "triton.tensorRT can only be set where resources.gpus is at least 1"),
    ],
)
def test_what_cannot_be_acted_on_is_refused_and_nothing_is_touched(spec: Object, reason: str, said: str) -> None:
    serve = Serve(FIRST, **spec)
    refused = serve.step()
    assert (refused.create, refused.apply, refused.delete) == ([], [], [])
    assert condition(serve.status, "Accepted")["reason"] == reason
    assert said in condition(serve.status, "Accepted")["message"]
    assert serve.status["phase"] == "Refused"


def test_a_serve_made_anew_does_not_take_its_namesakes_children_for_its_own() -> None:
    serve = Serve.ready(FIRST)
    serve.object["metadata"] |= {"uid": "another"}
    serve.object.pop("status")
    fresh = serve.step(10)
    assert [wanted["kind"] for wanted in fresh.apply] == ["Deployment", "Service"]
    assert condition(fresh.status, "Ready")["status"] == "False"
