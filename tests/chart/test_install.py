"""The chart on a real control plane, by the real helm: the operator runs as its Deployment, under its own role."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chart.conftest import CHART, Helm, Manifest
from trainserve.dev import binaries
from trainserve.dev.cluster import Cluster

pytestmark = pytest.mark.cluster

RELEASE = ("trainserve", "--namespace", "trainserve-chart")
CRDS = ("crd/trainjobs.trainserve.io", "crd/modelserves.trainserve.io")
UNSUPPORTED = {
    "apiVersion": "trainserve.io/v1alpha1",
    "kind": "TrainJob",
    "metadata": {"name": "kept", "namespace": "default"},
    "spec": {"model": {"command": ["true"]}, "policy": {"suspend": True}},
}

MONITORING = {"PodMonitor": 3, "ServiceMonitor": 1, "PrometheusRule": len(list(CHART.glob("files/rules/*.yaml")))}
"""Kinds of the Prometheus operator, and how many of each the chart has."""
DASHBOARDS = len(list(CHART.glob("dashboards/*.json")))

Kubectl = Callable[..., str]


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A development cluster without TrainServe's kinds and operator."""
    if os.environ.get("KUBECONFIG"):
        pytest.skip("needs this project's images, which only the development cluster does without")
    cluster = Cluster(tmp_path_factory.mktemp("chart"))
    try:
        cluster.up("controller-manager", "scheduler", "agent")
        yield cluster.kubeconfig
    finally:
        cluster.down()


@pytest.fixture(scope="module")
def kubectl(kubeconfig: Path) -> Kubectl:
    """A function that runs kubectl and returns its output."""

    def run(*arguments: str, stdin: str | None = None) -> str:
        argv = [str(binaries.kubectl()), "--kubeconfig", str(kubeconfig), *arguments]
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_it_installs_acts_and_leaves_the_users_objects_behind(
    run_helm: Helm, kubectl: Kubectl, kubeconfig: Path, tmp_path: Path
) -> None:
    def helm(*arguments: str) -> str:
        done = run_helm(*arguments, "--kubeconfig", str(kubeconfig))
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{_what_happened(kubectl)}"
        return done.stdout

    kubectl("delete", "--ignore-not-found", *CRDS)
    store = f"store.root=file://{tmp_path}"
    notes = helm("install", *RELEASE, str(CHART), "--create-namespace", "--set", store, "--wait", "--timeout", "3m")
    assert "rollout status deployment/trainserve-operator" in notes
    assert "no monitoring.coreos.com/v1, so no PodMonitor" in notes
    kubectl("-n", "trainserve-chart", "wait", "--for=condition=Available", "deployment/trainserve-operator")

    kubectl("apply", "-f", "-", stdin=json.dumps(UNSUPPORTED))
    kubectl("wait", "--for=condition=Accepted=False", "--timeout=120s", "trainjob/kept")
    job = json.loads(kubectl("get", "trainjob", "kept", "-o", "json"))
    (accepted,) = (condition for condition in job["status"]["conditions"] if condition["type"] == "Accepted")
    assert accepted["reason"] == "NotSupported"
    assert "spec.policy.suspend" in accepted["message"]

    helm("upgrade", *RELEASE, str(CHART), "--set", store, "--set", "operator.replicas=2", "--wait", "--timeout", "3m")
    ready = kubectl("-n", "trainserve-chart", "get", "deployment", "-o", "jsonpath={.items[*].status.readyReplicas}")
    assert ready == "2", "a replica that waits for the Lease is ready too"

    watched = ("--set", store, "--set", "watchNamespaces={default}", "--set", "operator.replicas=1")
    helm("upgrade", *RELEASE, str(CHART), *watched, "--wait", "--timeout", "3m")
    assert "trainserve-operator" not in kubectl("get", "clusterroles", "-o", "name")
    kubectl("create", "namespace", "unwatched")
    for namespace in ("unwatched", "default"):
        again = {**UNSUPPORTED, "metadata": {"name": "watched", "namespace": namespace}}
        kubectl("apply", "-f", "-", stdin=json.dumps(again))
    kubectl("wait", "--for=condition=Accepted=False", "--timeout=120s", "trainjob/watched")
    assert "status" not in json.loads(kubectl("-n", "unwatched", "get", "trainjob", "watched", "-o", "json"))

    helm("uninstall", *RELEASE, "--wait")
    assert kubectl("get", *CRDS, "-o", "name").split()
    assert kubectl("get", "trainjob", "kept", "-o", "name") == "trainjob.trainserve.io/kept\n"
    assert kubectl("-n", "trainserve-chart", "get", "deployments,services", "-o", "name") == ""
    kubectl("-n", "trainserve-chart", "wait", "--for=delete", "pods", "--all", "--timeout=60s")


def test_where_the_monitoring_apis_are_served_it_makes_their_objects(
    run_helm: Helm, kubectl: Kubectl, kubeconfig: Path
) -> None:
    definitions = [_definition("monitoring.coreos.com", "v1", kind) for kind in MONITORING]
    definitions.append(_definition("grafana.integreatly.org", "v1beta1", "GrafanaDashboard"))
    applied = json.dumps({"apiVersion": "v1", "kind": "List", "items": definitions})
    kubectl("apply", "-f", "-", stdin=applied)
    kubectl("wait", "--for=condition=Established", "--timeout=60s", "-f", "-", stdin=applied)

    def helm(*arguments: str) -> str:
        done = run_helm(*arguments, "--kubeconfig", str(kubeconfig))
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout

    def count(kind: str) -> int:
        return len(kubectl("-n", "trainserve-chart", "get", kind, "-o", "name").split())

    # No replica: the test above runs the operator.
    without_pods = ("--set", "operator.replicas=0", "--set", "crds.install=false")
    notes = helm("install", *RELEASE, str(CHART), "--create-namespace", *without_pods)
    assert "PodMonitors and a ServiceMonitor say what to scrape" in notes
    assert {kind: count(kind) for kind in MONITORING} == MONITORING
    assert count("GrafanaDashboard") == DASHBOARDS
    assert (
        len(kubectl("-n", "trainserve-chart", "get", "cm", "-l", "grafana_dashboard=1", "-o", "name").split())
        == DASHBOARDS
    )

    helm("upgrade", *RELEASE, str(CHART), *without_pods, "--set", "monitoring.enabled=false")
    assert {kind: count(kind) for kind in MONITORING} == dict.fromkeys(MONITORING, 0)
    helm("uninstall", *RELEASE, "--wait")
    assert count("GrafanaDashboard") == 0


def _definition(group: str, version: str, kind: str) -> Manifest:
    """Return a minimal definition of a third-party kind: the API server accepts any object of it."""
    plural = f"{kind.lower()}s"
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
            "versions": [
                {"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}},
            ],
        },
    }


def _what_happened(kubectl: Kubectl) -> str:
    events = kubectl("-n", "trainserve-chart", "get", "events", "--sort-by=.lastTimestamp")
    pods = kubectl("-n", "trainserve-chart", "describe", "pods")
    logs = kubectl("-n", "trainserve-chart", "logs", "deployment/trainserve-operator", "--tail=50")
    return f"{events}\n{pods}\n{logs}"
