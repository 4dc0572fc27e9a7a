"""Namespaces as teams have them: a quota with a LimitRange, too small a quota, pods that others select by labels."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cluster.support import Kube, Object, command, condition, is_true, wait_for
from tests.serving.graphs import convnet
from trainserve.dev.cluster import Cluster
from trainserve.store.manifest import digest

MESH = {
    "labels": {"kueue.x-k8s.io/queue-name": "vision"},
    "annotations": {"sidecar.istio.io/inject": "false", "words": "more than one"},
}


@pytest.fixture(scope="module")
def team(kube: Kube) -> Kube:
    """A namespace with a quota of 2 cores and 4 GiB, and a LimitRange that bounds each container."""
    kube.quota("small", cpu="2", memory="4Gi")
    bounds = {
        "type": "Container",
        "min": {"cpu": "10m", "memory": "16Mi"},
        "max": {"cpu": "2", "memory": "4Gi"},
        "default": {"cpu": "1", "memory": "2Gi"},
        "defaultRequest": {"cpu": "1", "memory": "2Gi"},
    }
    kube.client.create("LimitRange", {"metadata": {"name": "bounds"}, "spec": {"limits": [bounds]}})
    return kube


@pytest.fixture(scope="module")
def graph(dev_cluster: Cluster, team: Kube, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The `model` field of a ModelServe of a lone graph on a claim."""
    folder = tmp_path_factory.mktemp("claim")
    content = convnet().SerializeToString()
    (folder / "lone.onnx").write_bytes(content)
    with team.claim("models", folder):
        yield {"uri": "pvc://models/lone.onnx", "digest": digest(content)}


def events(kube: Kube, kind: str, name: str) -> dict[str, str]:
    """Return the messages of the object's warning events by reason."""
    selector = f"involvedObject.kind={kind},involvedObject.name={name},type=Warning"
    listed = json.loads(kube.kubectl("get", "events", "--field-selector", selector, "-o", "json").stdout)["items"]
    return {event["reason"]: event["message"] for event in listed}


def test_a_lone_graph_is_served_under_a_quota_and_its_pods_have_the_labels_of_the_spec(
    team: Kube, graph: Object
) -> None:
    spec = {"model": graph, "resources": {"cpu": "500m", "memory": "1Gi"}, "pod": MESH}
    team.create("ModelServe", "lone", spec)
    team.wait("ModelServe", "lone", lambda serve: is_true(serve, "Ready"))
    (pod,) = team.pods(modelserve="lone")
    for field, asked in MESH.items():
        assert pod["metadata"][field].items() >= asked.items()
    assert pod["metadata"]["labels"]["trainserve.io/modelserve"] == "lone"
    service = json.loads(team.kubectl("get", "service", "lone", "-o", "json").stdout)
    assert not MESH["labels"].keys() & service["metadata"]["labels"].keys()


def test_a_lone_graph_that_a_quota_has_no_room_for_says_so_in_the_servers_words(team: Kube, graph: Object) -> None:
    team.create("ModelServe", "greedy", {"model": graph, "resources": {"cpu": "1900m", "memory": "1Gi"}})
    told = "exceeded quota: small, requested: "
    serve = team.wait("ModelServe", "greedy", lambda serve: told in condition(serve, "Ready").get("message", ""))
    for kind in ("Progressing", "Ready"):
        found = condition(serve, kind)
        assert (found["status"], found["reason"]) == ("False", "ReplicaFailure")
        assert told in found["message"]
    assert serve["status"]["phase"] == "Failed"
    wait_for(lambda: told in events(team, "ModelServe", "greedy").get("ReplicaFailure", ""), 60, lambda: "no event")


def test_a_run_that_a_limit_range_refuses_says_so_in_the_servers_words(team: Kube) -> None:
    team.create("TrainJob", "large", command("true", resources={"cpu": "3"}, pod=MESH))
    told = "maximum cpu usage per Container is 2, but limit is 3"
    job = team.wait("TrainJob", "large", lambda job: told in condition(job, "Scheduled").get("message", ""))
    assert condition(job, "Scheduled")["reason"] == "Rejected"
    wait_for(lambda: told in events(team, "TrainJob", "large").get("Rejected", ""), 60, lambda: "no event")


def test_a_runs_pods_have_the_labels_of_the_spec(team: Kube) -> None:
    team.create("TrainJob", "labelled", command("true", resources={"cpu": "100m", "memory": "64Mi"}, pod=MESH))
    assert is_true(team.finished("labelled"), "Complete")
    (pod,) = team.pods(trainjob="labelled")
    for field, asked in MESH.items():
        assert pod["metadata"][field].items() >= asked.items()
