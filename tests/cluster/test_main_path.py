"""The main path: a TrainJob trains, exports, checks and publishes; a ModelServe serves it; the answers are correct."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http

from tests.cluster.support import Kube, Object, condition, digits, is_true, wait_for
from trainserve.models.config import Dataset
from trainserve.models.data import load

ACCURATE = {"epochs": 5, "seed": 0}


@pytest.fixture(scope="module")
def trained(kube: Kube) -> Object:
    """The quickstart's TrainJob, completed."""
    kube.create("TrainJob", "digits", digits(trainer=ACCURATE, gates={"minAccuracy": 0.9}))
    return kube.finished("digits")


@pytest.fixture(scope="module")
def served(kube: Kube, trained: Object) -> Object:
    """The ModelServe that follows it, ready."""
    kube.create("ModelServe", "digits", {"model": {"name": "digits"}})
    return kube.wait("ModelServe", "digits", lambda serve: is_true(serve, "Ready"))


@pytest.fixture(scope="module")
def address(kube: Kube, served: Object) -> str:
    """IP address at which this machine reaches the Service."""
    return kube.kubectl("get", "service", "digits", "-o", "jsonpath={.spec.clusterIP}").stdout


def test_a_trainjob_trains_checks_and_publishes(trained: Object) -> None:
    assert is_true(trained, "Complete"), trained["status"]["conditions"]
    assert is_true(trained, "Published")
    status = trained["status"]
    assert status["phase"] == "Complete"
    assert status["result"]["accuracy"] >= 0.9
    assert status["artifact"]["version"] == 1
    assert status["artifact"]["digest"].startswith("sha256:")
    assert status["artifact"]["parity"]["maxAbs"] < 1e-3
    assert status["observedGeneration"] == trained["metadata"]["generation"]
    assert status["startTime"] <= status["completionTime"]


def test_progress_reached_the_status_while_it_ran(trained: Object) -> None:
    progress = trained["status"]["progress"]
    assert progress["percent"] == 100
    assert progress["epoch"] == progress["epochs"] == 5


def test_every_transition_left_one_event(kube: Kube, trained: Object) -> None:
    events = json.loads(kube.kubectl("get", "events", "-o", "json").stdout)["items"]
    reasons = [e["reason"] for e in events if e["involvedObject"].get("uid") == trained["metadata"]["uid"]]
    assert {"Published", "Complete"} <= set(reasons)
    assert len(reasons) == len(set(reasons)), reasons


def test_kubectl_prints_the_columns_that_matter(kube: Kube, trained: Object, served: Object) -> None:
    header, row = kube.kubectl("get", "tsj", "digits").stdout.splitlines()
    assert header.split() == ["NAME", "PHASE", "EPOCH", "ACCURACY", "IMG/S", "VERSION", "AGE"]
    assert "Complete" in row
    header, row = kube.kubectl("get", "tsm", "digits").stdout.splitlines()
    assert header.split() == ["NAME", "READY", "VERSION", "REPLICAS", "P99", "URL", "AGE"]
    assert "True" in row


def test_the_training_log_can_be_read_with_kubectl(kube: Kube, trained: Object) -> None:
    log = kube.kubectl("logs", "-l", "trainserve.io/trainjob=digits", "--tail=-1").stdout
    assert "epoch 5/5" in log, log


def test_a_modelserve_serves_the_published_version_verified(served: Object, trained: Object) -> None:
    assert is_true(served, "ModelResolved")
    assert condition(served, "Verified")["reason"] == "SamplesMatch"
    assert served["status"]["version"] == 1
    assert served["status"]["digest"] == trained["status"]["artifact"]["digest"]
    assert served["status"]["replicas"] == {"desired": 1, "ready": 1}


def test_what_nobody_needs_is_closed_and_the_network_is_told_who_may_ask(
    kube: Kube, address: str, served: Object
) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"http://{address}:8000/v2/logging", timeout=30)
    assert refused.value.code == 403
    made = kube.kubectl("get", "networkpolicies", "-o", "name").stdout.split()
    assert {name.partition("/")[2] for name in made} >= {"modelserve.digits", "trainjob.digits"}


@pytest.mark.parametrize(("module", "port"), [(tritonclient.http, 8000), (tritonclient.grpc, 8001)])
def test_the_served_model_is_as_accurate_as_the_run_reported(
    address: str, trained: Object, module: Any, port: int
) -> None:
    data = load(Dataset(name="digits"), seed=0)
    client = module.InferenceServerClient(f"{address}:{port}")
    tensor = module.InferInput("images", [64, *data.test_images.shape[1:]], "UINT8")
    right = 0
    whole = len(data.test_images) // 64 * 64
    for start in range(0, whole, 64):
        tensor.set_data_from_numpy(data.test_images[start : start + 64])
        answer = client.infer("digits", [tensor]).as_numpy("probabilities")
        right += int((answer.argmax(axis=1) == data.test_targets[start : start + 64]).sum())
    client.close()
    assert right / whole == pytest.approx(trained["status"]["result"]["accuracy"], abs=0.03)


@pytest.mark.parametrize(
    ("tensor", "complaint"),
    [
        ({"shape": [1, 27, 28, 1], "datatype": "UINT8", "data": [0] * 756}, "shape"),
        ({"shape": [1, 28, 28, 1], "datatype": "FP32", "data": [0.0] * 784}, "type"),
        ({"name": "pictures", "shape": [1, 28, 28, 1], "datatype": "UINT8", "data": [0] * 784}, "pictures"),
    ],
)
def test_a_bad_request_is_a_client_error_and_the_next_good_one_is_answered(
    address: str, tensor: Object, complaint: str
) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        post(address, json.dumps({"inputs": [{"name": "images", **tensor}]}))
    assert refused.value.code == 400
    assert complaint in refused.value.read().decode()
    assert good_request(address)


def test_malformed_json_is_refused_and_harms_nothing(address: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        post(address, '{"inputs": [')
    # Release 2.51 answers 500 with the parser's message; what matters is that the request is refused with a reason.
    assert refused.value.code in (400, 500)
    assert "JSON" in refused.value.read().decode()
    assert good_request(address)


def test_a_new_version_takes_over_without_a_failed_request(kube: Kube, address: str, served: Object) -> None:
    kube.create("TrainJob", "digits-again", digits(trainer={"epochs": 1, "seed": 3}))
    answers: list[bool] = []
    before = {pod["metadata"]["name"] for pod in kube.pods(modelserve="digits")}
    channel = tritonclient.grpc.InferenceServerClient(f"{address}:8001")
    tensor = tritonclient.grpc.InferInput("images", [1, 28, 28, 1], "UINT8")
    tensor.set_data_from_numpy(np.zeros((1, 28, 28, 1), np.uint8))

    def ask() -> None:
        answers.append(good_request(address))
        channel.infer("digits", [tensor])  # over one channel, without retries

    def moved() -> bool:
        ask()
        return bool(kube.get("ModelServe", "digits")["status"].get("version") == 2)

    wait_for(moved, 180, lambda: str(kube.get("ModelServe", "digits")["status"]))

    def gone() -> bool:
        ask()
        return not before & {pod["metadata"]["name"] for pod in kube.pods(modelserve="digits")}

    wait_for(gone, 60, lambda: f"{before} of {kube.pods(modelserve='digits')}")
    for _ in range(20):
        ask()
    channel.close()
    assert all(answers)
    history = kube.get("ModelServe", "digits")["status"]["history"]
    assert [entry["version"] for entry in history] == [1, 2]


def test_the_newest_version_is_found_in_the_store_when_its_trainjob_is_gone(kube: Kube, served: Object) -> None:
    again = kube.get("TrainJob", "digits-again")
    assert again["status"]["artifact"]["version"] == 2
    kube.delete("TrainJob", "digits-again")
    kube.create("ModelServe", "late", {"model": {"name": "digits"}})
    late = kube.wait("ModelServe", "late", lambda serve: serve.get("status", {}).get("version") == 2)
    late = kube.wait("ModelServe", "late", lambda serve: serve["status"]["phase"] == "Ready")
    assert late["status"]["digest"] == again["status"]["artifact"]["digest"]
    assert condition(late, "ModelResolved")["reason"] == "Resolved"
    wait_for(lambda: not resolvers(kube), 60, lambda: f"still there: {resolvers(kube)}")
    kube.delete("ModelServe", "late")


def resolvers(kube: Kube) -> list[str]:
    """Return the names of the resolver pods."""
    return [pod["metadata"]["name"] for pod in kube.pods(modelserve="late") if "-resolve-" in pod["metadata"]["name"]]


def post(address: str, body: str) -> Object:
    request = urllib.request.Request(
        f"http://{address}:8000/v2/models/digits/infer", body.encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return dict(json.load(answer))


def good_request(address: str) -> bool:
    image = np.zeros((1, 28, 28, 1), np.uint8)
    tensor = {"name": "images", "shape": [1, 28, 28, 1], "datatype": "UINT8", "data": image.ravel().tolist()}
    outputs = post(address, json.dumps({"inputs": [tensor]}))["outputs"]
    return bool(abs(sum(outputs[0]["data"]) - 1) < 1e-3)
