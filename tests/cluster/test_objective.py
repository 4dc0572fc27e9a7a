"""A latency objective: settings are measured before a version takes traffic, and those that meet it are served."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import pytest

from tests.cluster.support import HANG, Kube, Object, condition, is_true, wait_for
from tests.serving.versions import publish_convnet
from trainserve.dev.cluster import Cluster

EASY = {"p99": "2s", "measureSeconds": 10}
"""Met by any server, even on a busy machine: the tests cover the path of the result, not its quality."""
MEASURED = 2 * HANG
"""A measuring pod takes about as long as configured; on a busy machine, as long as its measurements take."""


@pytest.fixture(scope="module")
def model(kube: Kube, dev_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Object:
    """The `model` field of a ModelServe, naming a version in the store."""
    done = publish_convnet(dev_cluster.store, tmp_path_factory.mktemp("work"), namespace=kube.namespace)
    return {"uri": f"file://{dev_cluster.store}/{kube.namespace}/digits/1", "digest": done.digest}


@pytest.fixture(scope="module")
def measuring(kube: Kube, model: Object) -> Object:
    """A ModelServe with an objective, while it is being measured."""
    triton = {"instances": 3, "dynamicBatching": {"maxBatch": 7, "queue": {"size": 200}}}
    kube.create("ModelServe", "fast", {"model": model, "slo": EASY, "triton": triton})
    return kube.wait("ModelServe", "fast", lambda serve: condition(serve, "Tuned").get("reason") == "Measuring")


@pytest.fixture(scope="module")
def served(kube: Kube, measuring: Object) -> Object:
    """The same ModelServe, ready and verified."""
    return kube.wait(
        "ModelServe", "fast", lambda serve: is_true(serve, "Ready") and is_true(serve, "Verified"), MEASURED
    )


def deployments(kube: Kube) -> list[Object]:
    found = kube.kubectl("get", "deployments", "-l", "trainserve.io/modelserve=fast", "-o", "json")
    return list(json.loads(found.stdout)["items"])


def tuners(kube: Kube) -> list[str]:
    names = [str(pod["metadata"]["name"]) for pod in kube.pods(modelserve="fast")]
    return [name for name in names if name.startswith("fast-tune-")]


def told(kube: Kube) -> Any:
    """Return the settings that the Deployment passes to its pods."""
    (deployment,) = deployments(kube)
    command = deployment["spec"]["template"]["spec"]["initContainers"][0]["command"]
    return json.loads(command[command.index("--settings") + 1])


def config(kube: Kube) -> Any:
    """Return the model configuration that the server behind the Service reports."""
    address = kube.kubectl("get", "service", "fast", "-o", "jsonpath={.spec.clusterIP}").stdout
    with urllib.request.urlopen(f"http://{address}:8000/v2/models/digits/config", timeout=30) as answer:
        return json.load(answer)


def test_nothing_is_served_before_the_objective_is_measured(kube: Kube, measuring: Object) -> None:
    assert condition(measuring, "Progressing")["reason"] == "Tuning"
    assert not is_true(measuring, "Ready")
    assert deployments(kube) == []


def test_the_settings_that_hold_it_are_named_in_the_status(served: Object) -> None:
    assert condition(served, "Tuned")["reason"] == "ObjectiveHeld", served["status"]
    tuning = served["status"]["tuning"]
    assert (tuning["held"], tuning["objective"]) == (True, EASY["p99"])
    assert 0 < tuning["p99Ms"] < 2000
    assert tuning["requestsPerSecond"] > 0
    assert f"batch {tuning['maxBatch']}" in condition(served, "Tuned")["message"]
    assert f"{tuning['instances']} x {tuning['threads']} threads" in condition(served, "Tuned")["message"]


def test_the_deployment_and_its_server_have_them_and_keep_what_was_not_measured(kube: Kube, served: Object) -> None:
    tuning = served["status"]["tuning"]
    settings, serving = told(kube), config(kube)
    assert (settings["instances"], settings["threads"]) == (tuning["instances"], tuning["threads"])
    assert settings["dynamicBatching"]["maxBatch"] == tuning["maxBatch"]
    assert settings["dynamicBatching"].get("maxQueueDelay") == tuning.get("maxQueueDelay")
    assert serving["max_batch_size"] == tuning["maxBatch"]
    assert [group["count"] for group in serving["instance_group"]] == [tuning["instances"]]
    assert serving["dynamic_batching"]["default_queue_policy"]["max_queue_size"] == 200


def test_the_pod_that_measured_goes_once_its_answer_is_written_down(kube: Kube, served: Object) -> None:
    wait_for(lambda: tuners(kube) == [], HANG, lambda: str(tuners(kube)))


def test_an_objective_out_of_reach_is_said_to_be_and_the_service_goes_on_as_written(kube: Kube, served: Object) -> None:
    change = json.dumps({"spec": {"slo": {"p99": "1us"}}})
    assert kube.kubectl("patch", "tsm", "fast", "--type=merge", "-p", change).returncode == 0
    wait_for(lambda: len(tuners(kube)) == 1, HANG, lambda: str(tuners(kube)))
    assert is_true(kube.get("ModelServe", "fast"), "Ready"), "what serves goes on meanwhile"
    serve = kube.wait(
        "ModelServe", "fast", lambda serve: condition(serve, "Tuned").get("reason") == "NotReachable", MEASURED
    )
    assert "is feasible" in condition(serve, "Tuned")["message"]
    assert serve["status"]["tuning"]["held"] is False
    wait_for(lambda: bool(config(kube)["max_batch_size"] == 7), HANG, lambda: str(config(kube)))
    assert (told(kube)["instances"], told(kube)["dynamicBatching"]["maxBatch"]) == (3, 7)
