"""Settings of a ModelServe: they reach the server, and can change while it serves."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import pytest

from tests.cluster.support import Kube, Object, condition, digits, is_true, wait_for


@pytest.fixture(scope="module")
def trained(kube: Kube) -> Object:
    """A TrainJob that has published the model `set`."""
    kube.create("TrainJob", "set", digits(output={"model": "set"}))
    job = kube.finished("set")
    assert is_true(job, "Complete"), job["status"]["conditions"]
    return job


def change(kube: Kube, spec: Object) -> None:
    assert kube.kubectl("patch", "tsm", "set", "--type=merge", "-p", json.dumps({"spec": spec})).returncode == 0


def progress(kube: Kube, reason: str) -> Object:
    """Wait until the rollout has this reason; return the ModelServe."""
    return kube.wait("ModelServe", "set", lambda serve: condition(serve, "Progressing").get("reason") == reason)


def get(kube: Kube, port: int, path: str, body: Object | None = None) -> str:
    address = kube.kubectl("get", "service", "set", "-o", "jsonpath={.spec.clusterIP}").stdout
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://{address}:{port}{path}", content, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return str(answer.read().decode())


def ask(kube: Kube) -> Any:
    """Return the model's answer to a fixed image."""
    image = {"name": "images", "shape": [1, 28, 28, 1], "datatype": "UINT8", "data": [7] * 784}
    return json.loads(get(kube, 8000, "/v2/models/set/infer", {"inputs": [image]}))["outputs"]


def config(kube: Kube) -> Any:
    """Return the model configuration that the server reports."""
    return json.loads(get(kube, 8000, "/v2/models/set/config"))


def test_a_setting_that_no_node_can_meet_is_told_while_the_old_one_goes_on_serving(kube: Kube, trained: Object) -> None:
    kube.create("ModelServe", "set", {"model": {"trainJob": "set"}})
    progress(kube, "UpToDate")

    change(kube, {"resources": {"cpu": 1000.5}})
    serve = progress(kube, "Unschedulable")
    assert "cpu" in condition(serve, "Progressing")["message"]
    assert (is_true(serve, "Ready"), serve["status"]["phase"]) == (True, "Degraded")
    assert [pod["status"]["phase"] for pod in kube.pods(modelserve="set") if "nodeName" in pod["spec"]] == ["Running"]

    change(kube, {"resources": {"cpu": None}})
    serve = progress(kube, "UpToDate")
    assert (is_true(serve, "Verified"), serve["status"]["phase"]) == (True, "Ready")


def test_settings_reach_the_server(kube: Kube) -> None:
    triton = {
        "warmup": True,
        "responseCache": True,
        "dynamicBatching": {"maxBatch": 16, "queue": {"size": 8, "timeout": "250ms"}},
        "ensemble": {"top": 2},
        "overrides": {"parameters": {"team": {"string_value": "$(POD_IP) vision"}}},
    }
    change(kube, {"triton": triton})
    wait_for(lambda: bool(config(kube)["max_batch_size"] == 16), 180, lambda: str(config(kube)))
    progress(kube, "UpToDate")
    # The operator may read the probe's report after the pod is ready.
    words = "; set-ensemble is right, too; set-labels is right, too"
    kube.wait("ModelServe", "set", lambda serve: str(condition(serve, "Verified").get("message")).endswith(words))
    served = config(kube)
    queue = served["dynamic_batching"]["default_queue_policy"]
    assert (queue["max_queue_size"], int(queue["default_timeout_microseconds"])) == (8, 250_000)
    assert served["response_cache"] == {"enable": True}
    assert served["model_warmup"]
    assert served["parameters"]["team"] == {"string_value": "$(POD_IP) vision"}, "as it was written"
    before = hits(kube)
    assert ask(kube) == ask(kube)
    wait_for(lambda: hits(kube) > before, 60, lambda: get(kube, 8002, "/metrics"))


def hits(kube: Kube) -> float:
    lines = get(kube, 8002, "/metrics").splitlines()
    return sum(
        float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith('nv_cache_num_hits_per_model{model="set"')
    )


def test_an_override_that_the_server_refuses_is_told_in_its_words_while_the_old_one_goes_on_serving(kube: Kube) -> None:
    change(kube, {"triton": {"overrides": {"dynamicbatching": {}}}})
    serve = progress(kube, "InvalidSettings")
    assert "dynamicbatching" in condition(serve, "Progressing")["message"]
    change(
        kube, {"triton": {"overrides": {"dynamicbatching": None, "dynamic_batching": {"preferred_batch_size": [128]}}}}
    )
    serve = progress(kube, "ServerFailed")
    assert "preferred size must be <= max batch size" in condition(serve, "Progressing")["message"]
    assert (is_true(serve, "Ready"), serve["status"]["phase"]) == (True, "Degraded")
    assert config(kube)["max_batch_size"] == 16
    kube.delete("ModelServe", "set")
