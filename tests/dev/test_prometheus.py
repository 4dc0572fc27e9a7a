"""The development cluster's Prometheus, configured by the chart: its targets, its rights, and that it is optional.

One cluster, in which a TrainJob trains and two ModelServes serve. Where Prometheus 3 is available, it scrapes the same
cluster with the same configuration.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.support import Kube, Object, command, digits, is_true, wait_for
from tests.dev.prometheus_support import HANG, LABELS, NAMESPACE, ODD, PORT, SECONDS, SERVE_ODD, Server, until
from trainserve.dev import addresses, process, prometheus, state
from trainserve.dev.cluster import CHART, Cluster
from trainserve.dev.health import get
from trainserve.dev.run import ClusterError, mark

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(bool(os.environ.get("KUBECONFIG")), reason="KUBECONFIG names a cluster; none is started"),
]
ACCOUNT = "system:serviceaccount:trainserve-system:prometheus"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with Prometheus, started as a user would."""
    one = Cluster(tmp_path_factory.mktemp("watched"))
    argv = [sys.executable, "-m", "trainserve.dev", "up", "--directory", str(one.directory)]
    try:
        done = subprocess.run([*argv, "--operator", "--prometheus"], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        yield one
    finally:
        one.down()


@pytest.fixture(scope="module")
def kube(cluster: Cluster) -> Kube:
    return Kube(cluster.kubeconfig, cluster, NAMESPACE)


@pytest.fixture(scope="module")
def third(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Prometheus 3 beside the cluster's own, with the same configuration."""
    try:
        program = prometheus.prometheus3()
    except prometheus.PrometheusUnavailable as error:
        pytest.skip(str(error))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("prometheus3")
    argv = prometheus.command(program, cluster.layout.prometheus_config, folder / "data", port)
    started = process.start(argv, mark="", log=folder / "log", environment=os.environ)
    server = Server(f"http://127.0.0.1:{port}")
    try:
        wait_for(lambda: get(f"{server.url}/-/ready") is not None, SECONDS, (folder / "log").read_text)
        yield server
    finally:
        process.stop([started])


@pytest.fixture(params=["cluster", "third"], ids=["2", "3"])
def server(request: pytest.FixtureRequest, cluster: Cluster) -> Server:
    """The cluster's own Prometheus, and Prometheus 3."""
    return Server(cluster.prometheus_url) if request.param == "cluster" else request.getfixturevalue("third")


@pytest.fixture(scope="module")
def busy(kube: Kube, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kube]:
    """A namespace with two published versions, ModelServes of the second and of the first's graph, and a live run."""
    for name in ("one", "other"):
        kube.create("TrainJob", name, digits())
    for name in ("one", "other"):
        assert is_true(kube.finished(name, SECONDS), "Complete")
    folder = tmp_path_factory.mktemp("graphs")
    graph = (cluster.store / NAMESPACE / "digits" / "1" / "model.onnx").read_bytes()
    (folder / "digits.onnx").write_bytes(graph)
    lone = {"uri": "pvc://graphs/digits.onnx", "digest": f"sha256:{hashlib.sha256(graph).hexdigest()}"}
    with kube.claim("graphs", folder):
        kube.create("ModelServe", "web", {"model": {"name": "digits"}})
        kube.create("ModelServe", "lone", {"model": lone})
        kube.create("TrainJob", "long", digits(trainer={"epochs": 2000, "seed": 7}))
        for name in ("web", "lone"):
            kube.wait("ModelServe", name, lambda serve: is_true(serve, "Ready"), SECONDS)
        yield kube


@pytest.fixture(scope="module")
def strange(kube: Kube) -> Iterator[None]:
    """A pod with odd labels and annotations, and one that accepts connections and never answers."""
    for name, arguments in (("odd", [SERVE_ODD, ODD]), ("hangs", [HANG])):
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "labels": {**LABELS, "trainserve.io/trainjob": name},
                "annotations": {"example.org/odd": ODD},
            },
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "containers": [
                    {
                        "name": "main",
                        "image": "ignored",
                        "command": ["python", "-c", *arguments],
                        "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
                        "ports": [PORT],
                    }
                ],
            },
        }
        done = kube.kubectl("apply", "-f", "-", stdin=json.dumps(pod))
        assert done.returncode == 0, done.stderr
    yield
    kube.kubectl("delete", "pod", "odd", "hangs", "--wait=false")


def of(pod: Object) -> str:
    return str(pod["metadata"]["name"])


def test_whatever_runs_is_found_with_exactly_the_labels_that_were_promised(busy: Kube, server: Server) -> None:
    (training,) = busy.pods(trainjob="long")
    (web,), (lone,) = (
        [pod for pod in busy.pods(modelserve=name) if len(pod["spec"]["containers"]) == 2] for name in ("web", "lone")
    )
    here = {"namespace": NAMESPACE}
    expected = [
        {
            **here,
            "job": "trainserve-training",
            "trainjob": "long",
            "model": "digits",
            "attempt": "1",
            "pod": of(training),
        },
        {**here, "job": "trainserve-triton", "modelserve": "web", "version": "2", "pod": of(web)},
        {**here, "job": "trainserve-probe", "modelserve": "web", "model": "digits", "version": "2", "pod": of(web)},
        {**here, "job": "trainserve-triton", "modelserve": "lone", "pod": of(lone)},
        {**here, "job": "trainserve-probe", "modelserve": "lone", "model": "lone", "pod": of(lone)},
        {"job": "trainserve-operator", "namespace": "trainserve-system", "pod": "trainserve-operator"},
    ]

    def seen() -> list[dict[str, str]]:
        up = [target["labels"] for target in server.targets() if target["health"] == "up"]
        return [{name: value for name, value in labels.items() if name != "instance"} for labels in up]

    def in_order(labels: list[dict[str, str]]) -> list[dict[str, str]]:
        return sorted(labels, key=lambda each: sorted(each.items()))

    until(lambda: in_order(seen()) == in_order(expected), server.targets)


def test_the_version_is_the_stores_and_never_tritons_own(busy: Kube, server: Server) -> None:
    requests = "nv_inference_request_success"
    until(lambda: len(server.query(requests)) >= 2, lambda: server.query(requests))
    versions = {sample["metric"]["modelserve"]: sample["metric"].get("version") for sample in server.query(requests)}
    assert versions == {"web": "2", "lone": None}
    assert {
        sample["metric"].get("version")
        for sample in server.query('nv_pinned_memory_pool_total_bytes{modelserve="web"}')
    } <= {"2"}


def test_nothing_had_to_be_renamed_because_two_meant_the_same_label(busy: Kube, server: Server) -> None:
    until(lambda: server.query('{job="trainserve-probe"}'), server.targets)
    for label in ("version", "namespace", "pod", "model", "modelserve", "trainjob", "job", "instance"):
        assert server.query(f'{{exported_{label}!=""}}') == []


def test_what_the_operator_says_of_an_object_is_of_that_objects_namespace(busy: Kube, server: Server) -> None:
    phase = 'trainserve_trainjob_phase{trainjob="long"}'
    until(lambda: server.query(phase), server.targets)
    (sample,) = server.query(phase)
    assert sample["metric"]["namespace"] == NAMESPACE
    (leading,) = server.query("trainserve_leading")
    assert leading["metric"]["namespace"] == "trainserve-system"


def test_every_rule_of_the_chart_is_evaluated_without_an_error(busy: Kube, server: Server) -> None:
    def rules() -> list[dict[str, Any]]:
        return [rule for group in server.ask("rules")["groups"] for rule in group["rules"]]

    until(lambda: all(rule["health"] != "unknown" for rule in rules()), rules)
    assert [(rule["name"], rule["lastError"]) for rule in rules() if rule["health"] != "ok"] == []
    assert len(rules()) > 50


def test_quotes_and_newlines_in_labels_and_annotations_arrive_as_they_are(
    busy: Kube, strange: None, server: Server
) -> None:
    until(lambda: server.query("odd_info"), lambda: server.target("odd"))
    (sample,) = server.query("odd_info")
    assert sample["metric"]["text"] == ODD
    assert server.target("odd")["discoveredLabels"]["__meta_kubernetes_pod_annotation_example_org_odd"] == ODD


def test_a_pod_that_hangs_costs_its_own_target_alone(busy: Kube, strange: None, server: Server) -> None:
    until(lambda: server.target("hangs")["health"] == "down", lambda: server.target("hangs"))
    assert "deadline exceeded" in server.target("hangs")["lastError"]
    others = [each for each in server.targets() if each["labels"]["pod"] != "hangs"]
    assert len(others) >= 6
    assert {each["health"] for each in others} == {"up"}


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (("list", "pods"), "yes"),
        (("watch", "pods"), "yes"),
        (("get", "pods"), "no"),
        (("create", "pods"), "no"),
        (("get", "pods", "--subresource=log"), "no"),
        (("get", "pods", "--subresource=proxy"), "no"),
        (("list", "services"), "no"),
        (("list", "endpoints"), "no"),
        (("list", "secrets"), "no"),
        (("list", "nodes"), "no"),
        (("list", "trainjobs.trainserve.io"), "no"),
        (("get", "/metrics"), "no"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else value,
)
def test_its_account_finds_pods_and_may_do_nothing_else(kube: Kube, question: tuple[str, ...], answer: str) -> None:
    done = kube.kubectl("auth", "can-i", *question, "--all-namespaces", f"--as={ACCOUNT}")
    assert done.stdout.strip() == answer, done.stderr


def test_it_listens_on_loopback_alone(cluster: Cluster) -> None:
    import psutil

    (running,) = (each for name, each in state_of(cluster).processes.items() if name == "prometheus")
    listening = [each.laddr.ip for each in psutil.Process(running.pid).net_connections() if each.status == "LISTEN"]
    assert listening == ["127.0.0.1"]


def test_nobody_misses_a_prometheus_that_was_killed_and_up_starts_it_again(busy: Kube, cluster: Cluster) -> None:
    server = Server(cluster.prometheus_url)
    until(lambda: server.query("trainserve_leading"), server.targets)
    before = time.time()
    operator = state_of(cluster).processes["operator"]
    cluster.kill("prometheus")
    assert cluster.status()["prometheus"].state == "died"
    busy.create("TrainJob", "unwatched", command("true"))
    assert is_true(busy.finished("unwatched", SECONDS), "Complete")
    assert is_true(busy.get("TrainJob", "long"), "Running")
    assert is_true(busy.get("ModelServe", "web"), "Ready")
    assert operator.alive

    cluster.up()
    assert cluster.status()["prometheus"].state == "running"
    assert state_of(cluster).processes["operator"] == operator
    assert server.query("trainserve_leading", time=str(before)), "what it knew before is not lost"
    until(lambda: server.query("trainserve_leading"), server.targets)


def test_up_leaves_it_alone_until_the_chart_says_something_else(cluster: Cluster, tmp_path: Path) -> None:
    cluster.up()
    first = state_of(cluster).processes["prometheus"]
    cluster.up()
    assert state_of(cluster).processes["prometheus"] == first
    chart = tmp_path / "chart"
    shutil.copytree(CHART, chart)
    rules = {"groups": [{"name": "more", "rules": [{"record": "one_more", "expr": "vector(1)"}]}]}
    (chart / "files" / "rules" / "more.yaml").write_text(json.dumps(rules))
    Cluster(cluster.directory, chart=chart).up()
    assert state_of(cluster).processes["prometheus"] != first
    server = Server(cluster.prometheus_url)
    until(lambda: server.query("one_more"), server.targets)


def test_a_chart_that_cannot_be_rendered_is_told_and_stops_nothing(cluster: Cluster, tmp_path: Path) -> None:
    chart = tmp_path / "chart"
    shutil.copytree(CHART, chart)
    (chart / "values.yaml").write_text("monitoring: [")
    with pytest.raises(ClusterError, match="no Prometheus: helm does not render"):
        Cluster(cluster.directory, chart=chart).up()
    assert cluster.status()["prometheus"].state == "running"


def test_down_leaves_no_process_of_it(cluster: Cluster) -> None:
    port = state_of(cluster).addresses.ports["prometheus"]
    assert not addresses.is_free(port)
    cluster.down()
    assert addresses.is_free(port)
    assert process.marked(mark(cluster.directory, "")) == []
    assert cluster.status()["prometheus"].state == "stopped"


def state_of(cluster: Cluster) -> state.State:
    current = state.load(cluster.layout.state)
    assert current is not None
    return current
