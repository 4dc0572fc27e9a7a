"""Lone graphs on a claim of the namespace: with scalars, with strings, slow ones, and one that the server refuses."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import numpy as np
import onnx
import pytest
import tritonclient.http
from onnx import TensorProto, helper

from tests.cluster.support import HANG, Kube, Object, condition, is_true, wait_for
from tests.serving import odd_graphs
from trainserve.dev.cluster import Cluster

PROBE = 9401


def scalars() -> onnx.ModelProto:
    """Return a graph that compares each row with a scalar threshold, and returns the scalar mean of all rows."""
    nodes = [
        helper.make_node("Greater", ["x", "threshold"], ["over"]),
        helper.make_node("ReduceMean", ["x"], ["mean"], keepdims=0),
    ]
    inputs: list[odd_graphs.Tensor] = [("x", TensorProto.FLOAT, ["batch", 4]), ("threshold", TensorProto.FLOAT, [])]
    outputs: list[odd_graphs.Tensor] = [("over", TensorProto.BOOL, ["batch", 4]), ("mean", TensorProto.FLOAT, [])]
    return odd_graphs.graph(nodes, inputs, outputs)


@pytest.fixture(scope="module")
def serves(kube: Kube, dev_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Object]]:
    """ModelServes of the graphs, side by side; the slow one needs longer for an answer than any initial deadline."""
    folder = tmp_path_factory.mktemp("claim")
    for parent in (folder, *folder.parents[:2]):
        parent.chmod(0o755)
    graphs = {"scalars": scalars(), "words": odd_graphs.words(), "slow": odd_graphs.slow(2500)}
    for name, model in graphs.items():
        onnx.save(model, folder / f"{name}.onnx")
    right: dict[str, Any] = {
        "word": np.array([["cat"], ["cow"]]),
        "number": np.array([[1], [0]]),
        "german": np.array([["Katze"], ["?"]]),
    }
    np.savez(folder / "words.npz", **right)
    np.savez(folder / "wrong.npz", **right | {"german": np.array([["Katze"], ["Kuh"]])})

    def lone(name: str, **more: object) -> Object:
        digest = sha256((folder / f"{name}.onnx").read_bytes()).hexdigest()
        return {"uri": f"pvc://graphs/{name}.onnx", "digest": f"sha256:{digest}", **more}

    samples = sha256((folder / "words.npz").read_bytes()).hexdigest()
    refused = {"overrides": {"maxBatchSize": 4, "dynamicBatching": {"preferredBatchSize": [9]}}}
    specs: dict[str, Object] = {
        "scalars": {"model": lone("scalars")},
        "words": {"model": lone("words", samples={"uri": "pvc://graphs/words.npz", "digest": f"sha256:{samples}"})},
        "wrong": {"model": lone("words", samples={"uri": "pvc://graphs/wrong.npz"})},
        "slow": {"model": lone("slow")},
        "refused": {"model": lone("words"), "triton": refused},
    }
    with kube.claim("graphs", folder):
        yield {name: kube.create("ModelServe", name, spec) for name, spec in specs.items()}


def ready(kube: Kube, name: str) -> Object:
    return kube.wait("ModelServe", name, lambda serve: is_true(serve, "Ready"), 2 * HANG)


def steady(kube: Kube, name: str) -> None:
    """Assert that the pod, which only its probe queries, keeps answering and is never restarted."""
    (pod,) = kube.pods(modelserve=name)
    address = f"http://{pod['status']['podIP']}:{PROBE}/metrics"

    def answered() -> float:
        page = urllib.request.urlopen(address, timeout=10).read().decode()
        (count,) = re.findall(r'^trainserve_probe_inferences_total\{result="answered"\} (.*)$', page, re.MULTILINE)
        return float(count)

    before = answered()
    wait_for(lambda: answered() >= before + 2, HANG, lambda: f"{answered()} answers, {before} before")
    (pod,) = kube.pods(modelserve=name)
    assert {each["name"]: each["restartCount"] for each in pod["status"]["containerStatuses"]} == {
        "triton": 0,
        "probe": 0,
    }
    assert is_true(kube.get("ModelServe", name), "Ready")


def test_single_numbers_are_taken_and_given(kube: Kube, serves: dict[str, Object]) -> None:
    ready(kube, "scalars")
    steady(kube, "scalars")
    address = kube.kubectl("get", "service", "scalars", "-o", "jsonpath={.spec.clusterIP}").stdout
    client = tritonclient.http.InferenceServerClient(f"{address}:8000")
    inputs = []
    for name, values in (
        ("x", np.arange(8, dtype=np.float32).reshape(2, 4)),
        ("threshold", np.array([2.5], np.float32)),
    ):
        inputs.append(tritonclient.http.InferInput(name, list(values.shape), "FP32"))
        inputs[-1].set_data_from_numpy(values)
    try:
        answer = client.infer("scalars", inputs)
        assert answer.as_numpy("over").tolist() == [[False] * 3 + [True], [True] * 4]
        assert float(answer.as_numpy("mean").reshape(())) == 3.5
    finally:
        client.close()


def test_texts_are_verified_by_the_samples_that_come_with_them(kube: Kube, serves: dict[str, Object]) -> None:
    serve = kube.wait("ModelServe", "words", lambda serve: is_true(serve, "Ready") and is_true(serve, "Verified"))
    assert condition(serve, "Verified")["message"] == "2 samples, max abs difference 0"
    steady(kube, "words")
    wrong = kube.wait("ModelServe", "wrong", lambda serve: condition(serve, "Verified").get("status") == "False")
    assert "worst: sample 1, output german, expected ['Kuh'], got ['?']" in condition(wrong, "Verified")["message"]
    assert not is_true(wrong, "Ready")


def test_a_slow_model_is_ready_and_stays_so(kube: Kube, serves: dict[str, Object]) -> None:
    ready(kube, "slow")
    # The pod is ready at the probe's first answer; only then does the operator read the probe's reason.
    kube.wait("ModelServe", "slow", lambda serve: condition(serve, "Verified").get("reason") == "NothingRecorded", HANG)
    steady(kube, "slow")


def test_what_the_server_says_when_it_does_not_take_a_model_is_in_the_status_and_an_event(
    kube: Kube, serves: dict[str, Object]
) -> None:
    words = "dynamic batching preferred size must be <= max batch size for refused"
    serve = kube.wait(
        "ModelServe", "refused", lambda serve: condition(serve, "Progressing").get("reason") == "ServerFailed"
    )
    assert words in condition(serve, "Progressing")["message"]

    def events() -> str:
        return json.dumps(json.loads(kube.kubectl("get", "events", "-o", "json").stdout)["items"])

    wait_for(lambda: words in events(), HANG, events)
