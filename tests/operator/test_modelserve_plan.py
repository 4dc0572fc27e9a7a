"""From a ModelServe, its children and the TrainJobs beside it to the next step."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.operator.serving import (
    BAD_CONFIG,
    FIRST,
    OTHER,
    SECOND,
    SUFFIX,
    UNSCHEDULABLE,
    VERIFIED,
    Serve,
    artifact,
)
from tests.operator.support import DIGEST, OTHER_DIGEST, at, condition, ended, failed
from trainserve.operator.objects import Object
from trainserve.operator.plan import Delete


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
    # The old pod serves on, the new one has no node.
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


EXCEEDED = 'pods "digits-x" is forbidden: exceeded quota: compute, requested: limits.cpu=1, used: limits.cpu=2'
REFUSED: Object = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": EXCEEDED}
UNMADE: Object = {
    "type": "Progressing", "status": "False", "reason": "ReplicaSetCreateError", "message": "exceeded quota: counts",
}  # fmt: skip
LONE = {"uri": "pvc://models/a.onnx", "digest": DIGEST}


@pytest.mark.parametrize("model", [{"name": "digits"}, LONE], ids=["named", "lone graph"])
@pytest.mark.parametrize("refused", [REFUSED, UNMADE], ids=["pods", "replica set"])
def test_pods_that_the_server_does_not_take_are_told_in_its_words(model: Object, refused: Object) -> None:
    serve = Serve(FIRST, model=model)
    serve.step()
    (deployment,) = (child for (kind, _), child in serve.children.items() if kind == "Deployment")
    deployment["status"] = {"observedGeneration": 1, "conditions": [{"type": "Available", "status": "False"}, refused]}
    told = serve.step(5)
    for kind in ("Progressing", "Ready"):
        found = condition(serve.status, kind)
        assert (found["status"], found["reason"]) == ("False", "ReplicaFailure")
        assert refused["message"] in found["message"]
    (event,) = told.events
    assert (event.type, event.reason) == ("Warning", "ReplicaFailure")
    assert refused["message"] in event.message
    assert serve.status["phase"] == "Failed"
    deployment["status"]["conditions"] = [refused | {"status": "True" if refused is UNMADE else "False"}]
    serve.step(10)
    assert condition(serve.status, "Progressing")["reason"] == "RollingOut", "it may make them now"


def test_what_a_deployment_said_of_an_earlier_template_is_not_repeated() -> None:
    serve = Serve(FIRST)
    serve.step()
    deployment = serve.children["Deployment", f"digits-{SUFFIX}"]
    deployment["metadata"]["generation"] = 2
    deployment["status"] = {"observedGeneration": 1, "conditions": [REFUSED]}
    serve.step(5)
    assert condition(serve.status, "Progressing")["reason"] == "RollingOut"


def test_a_second_replica_that_a_quota_refuses_is_told_beside_the_first_that_serves() -> None:
    serve = Serve.ready(FIRST)
    serve.object["spec"]["replicas"] = 2
    serve.step(10)
    deployment = serve.children["Deployment", f"digits-{SUFFIX}"]
    deployment["status"]["conditions"] = [REFUSED]
    serve.step(12)
    progressing = condition(serve.status, "Progressing")
    assert (progressing["reason"], condition(serve.status, "Ready")["reason"]) == ("ReplicaFailure", "PartlyServing")
    assert serve.status["phase"] == "Degraded"


def test_scaling_makes_no_new_template() -> None:
    serve = Serve.ready(FIRST)
    before = serve.children["Deployment", f"digits-{SUFFIX}"]["spec"]["template"]
    serve.object["spec"]["replicas"] = 3
    scaled, _ = serve.step(10).apply
    assert scaled["spec"]["template"] == before


@pytest.mark.parametrize("text", ["", "no JSON", "[]", '{"model": "digits"}', "[" * 60_000])
def test_an_annotation_that_somebody_has_spoiled_stops_nothing(text: str) -> None:
    serve = Serve.ready(FIRST)
    serve.children["Deployment", f"digits-{SUFFIX}"]["metadata"]["annotations"]["trainserve.io/served-version"] = text
    serve.step(10)
    assert serve.status["phase"] == "Ready"


def test_a_version_survives_the_deletion_of_its_trainjob() -> None:
    serve = Serve.ready(FIRST)
    serve.jobs.clear()
    kept = serve.step(10)
    assert (kept.create, kept.delete) == ([], [])
    assert serve.status["phase"] == "Ready"


def test_a_missing_trainjob_is_waited_for() -> None:
    serve = Serve(model={"trainJob": "one"})
    nothing = serve.step()
    assert (nothing.create, nothing.apply) == ([], [])
    assert condition(serve.status, "ModelResolved")["reason"] == "TrainJobNotFound"
    assert serve.status["phase"] == "Waiting"
    serve.jobs.append(FIRST)
    serve.step(10)
    assert condition(serve.status, "ModelResolved")["status"] == "True"


def test_the_store_is_asked_by_a_pod_and_asked_again_later_and_later() -> None:
    serve = Serve(model={"name": "digits", "version": 7})
    (pod,) = serve.step().create
    assert pod["metadata"]["name"] == "digits-resolve-1"
    refused = ended(1, failed("VersionNotFound", "published: 1, 2"), container="resolve")
    serve.children["Pod", "digits-resolve-1"]["status"] = refused
    waiting = serve.step(10)
    assert condition(serve.status, "ModelResolved")["reason"] == "VersionNotFound"
    assert condition(serve.status, "ModelResolved")["message"] == "published: 1, 2"
    assert waiting.requeue_after == 10.0, "as long again as it has waited already"
    assert serve.step(20).delete == [Delete("Pod", "digits-resolve-1")]
    assert serve.step(21).create
    assert condition(serve.status, "ModelResolved")["reason"] == "VersionNotFound", "the last answer stands meanwhile"


def test_the_stores_answer_is_kept_with_the_deployment_and_its_pod_goes() -> None:
    serve = Serve()
    serve.step()
    answer = {"outcome": "Resolved", **artifact(3, DIGEST)}
    serve.children["Pod", "digits-resolve-1"]["status"] = ended(0, answer, reason="Completed", container="resolve")
    serve.step(11)
    assert serve.step(12).delete == [Delete("Pod", "digits-resolve-1")]
    serve.step(13)
    assert condition(serve.status, "ModelResolved")["status"] == "True"
    assert serve.step(14).create == []


RESOLVER = "digits-resolve-1"


def answer_resolver(serve: Serve, exit_code: int, message: Object) -> None:
    serve.children["Pod", RESOLVER]["status"] = ended(exit_code, message, container="resolve")


def test_a_version_whose_trainjob_is_gone_is_found_in_the_store() -> None:
    serve = Serve(FIRST)
    (asking,) = serve.step().create
    assert asking["metadata"]["name"] == RESOLVER
    assert condition(serve.status, "ModelResolved")["reason"] == "Provisional"
    assert serve.deployments() == [f"digits-{SUFFIX}"], "what is known serves meanwhile"
    answer_resolver(serve, 0, {"outcome": "Resolved", **artifact(2, OTHER_DIGEST)})
    serve.step(1)
    assert f"digits-{OTHER}" in serve.deployments()
    assert condition(serve.status, "ModelResolved")["reason"] == "Resolved"
    assert serve.step(2).delete == [Delete("Pod", RESOLVER)]
    assert serve.step(3).create == [], "asked once"


def test_the_stores_answer_is_kept_until_the_status_that_says_so_is_written() -> None:
    serve = Serve(FIRST)
    unwritten = serve.step().status
    answer_resolver(serve, 0, {"outcome": "Resolved", **artifact(2, OTHER_DIGEST)})
    for second in (1, 2):
        serve.step(second)
        serve.object["status"] = unwritten
    assert ("Pod", RESOLVER) in serve.children
    serve.step(3)
    assert serve.step(4).delete == [Delete("Pod", RESOLVER)]


def test_a_changed_spec_asks_the_store_anew() -> None:
    serve = Serve.ready(FIRST)
    answer_resolver(serve, 0, {"outcome": "Resolved", **artifact(1, DIGEST)})
    serve.step(6)
    serve.object["metadata"]["generation"] = 2
    (asking,) = serve.step(10).create
    assert asking["metadata"]["name"] == "digits-resolve-2"


@pytest.mark.parametrize("model", [{"name": "digits", "version": 1}, {"trainJob": "one"}])
def test_what_names_its_version_asks_nobody_else(model: Object) -> None:
    assert Serve(FIRST, model=model).step().create == []


def test_a_store_that_cannot_be_read_is_asked_again_while_what_is_known_serves() -> None:
    serve = Serve.ready(FIRST)
    answer_resolver(serve, 1, failed("StoreError", "no such bucket"))
    waiting = serve.step(10)
    resolved = condition(serve.status, "ModelResolved")
    assert (resolved["status"], resolved["reason"]) == ("True", "Provisional")
    assert "no such bucket" in resolved["message"]
    assert waiting.requeue_after is not None
    assert serve.step(60).delete == [Delete("Pod", RESOLVER)]


@pytest.mark.parametrize(
    ("status", "reason", "said"),
    [
        ({"conditions": [UNSCHEDULABLE]}, "Unschedulable", "Insufficient cpu"),
        (
            {"containerStatuses": [{"name": "resolve", "state": {"waiting": {"reason": "ErrImagePull"}}}]},
            "ImagePull",
            "ErrImagePull",
        ),
    ],
)
def test_what_keeps_the_store_from_being_asked_is_said(status: Object, reason: str, said: str) -> None:
    serve = Serve()
    serve.step()
    serve.children["Pod", RESOLVER]["status"] = {"phase": "Pending", **status}
    serve.step(1)
    resolved = condition(serve.status, "ModelResolved")
    assert (resolved["status"], resolved["reason"]) == ("False", reason)
    assert said in resolved["message"]
    serve.children["Pod", RESOLVER]["status"] = {"phase": "Running"}
    serve.step(2)
    assert condition(serve.status, "ModelResolved")["reason"] == "Resolving"


def test_an_evicted_resolver_is_made_anew() -> None:
    serve = Serve()
    serve.step()
    serve.children["Pod", RESOLVER]["metadata"]["creationTimestamp"] = at(0)
    serve.children["Pod", RESOLVER]["status"] = {"phase": "Failed", "reason": "Evicted"}
    assert condition(serve.step(1).status, "ModelResolved")["reason"] == "StoreError"
    assert serve.step(30).delete == [Delete("Pod", RESOLVER)]


SAID: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
REPORT = st.dictionaries(st.sampled_from(["verified", "reason", "message", "p50Ms", "p99Ms"]), SAID)
MESSAGE = st.fixed_dictionaries(
    {"outcome": st.sampled_from(["Resolved", "Failed", "Fetched"]) | SAID},
    optional={"reason": SAID, "message": SAID, "uri": SAID, "version": SAID, "digest": SAID},
)


@settings(max_examples=200)
@given(report=REPORT, fetched=MESSAGE, resolved=MESSAGE, ready=st.booleans())
def test_whatever_the_pods_say_the_status_can_be_written(
    report: Object, fetched: Object, resolved: Object, ready: bool
) -> None:
    serve = Serve(FIRST)
    serve.step()
    answer_resolver(serve, 1, resolved)
    if ready:
        serve.make_ready(SUFFIX)
        serve.answers = {f"digits-{SUFFIX}-x": report}
    else:
        end = ended(1, fetched, container="fetch")
        serve.add_pod(SUFFIX, {"phase": "Pending", "initContainerStatuses": end["containerStatuses"]}, report)
    serve.step(5)
    json.dumps(serve.status, ensure_ascii=False, allow_nan=False).encode()
    assert all(found["reason"] and found["message"] for found in serve.status["conditions"])


BUDGET = "PodDisruptionBudget", "digits"


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_several_replicas_are_guarded_against_a_drain_that_takes_them_all(version: str) -> None:
    serve = Serve(FIRST, replicas=2)
    serve.budgets = version
    serve.step()
    budget = serve.children[BUDGET]
    assert (budget["apiVersion"], budget["spec"]["maxUnavailable"]) == (f"policy/{version}", 1)
    assert condition(serve.status, "DisruptionBudget")["status"] == "True"
    assert serve.step(1).apply == []
    serve.object["spec"]["replicas"] = 1
    assert Delete(*BUDGET) in serve.step(2).delete
    assert condition(serve.status, "DisruptionBudget")["reason"] == "NotNeeded"


def test_one_replica_has_no_budget() -> None:
    serve = Serve(FIRST)
    serve.step()
    assert BUDGET not in serve.children
    assert condition(serve.status, "DisruptionBudget") == {}


def test_a_cluster_without_budgets_is_a_reason_and_no_failure() -> None:
    serve = Serve.ready(FIRST, replicas=1)
    serve.object["spec"]["replicas"], serve.budgets = 2, None
    serve.step(10)
    serve.make_ready(SUFFIX, 2)
    serve.step(11)
    guarded = condition(serve.status, "DisruptionBudget")
    assert (guarded["status"], guarded["reason"]) == ("False", "ApiMissing")
    assert "policy/v1 or policy/v1beta1" in guarded["message"]
    assert serve.status["phase"] == "Ready"


def test_no_replicas_are_a_choice_and_not_a_failure() -> None:
    serve = Serve(FIRST, replicas=0)
    serve.step()
    serve.children["Deployment", f"digits-{SUFFIX}"]["status"] = {"observedGeneration": 1}
    serve.step(1)
    assert condition(serve.status, "Ready")["reason"] == "ScaledToZero"


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
