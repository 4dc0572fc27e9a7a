"""The chart on a real control plane, by the real helm: the operator runs as its Deployment, under its own role."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chart.conftest import CHART, Helm
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

Kubectl = Callable[..., str]


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A development cluster without TrainServe: not its kinds, not its operator."""
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
    """Runs kubectl and answers what it printed."""

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

    helm("uninstall", *RELEASE, "--wait")
    assert kubectl("get", *CRDS, "-o", "name").split()
    assert kubectl("get", "trainjob", "kept", "-o", "name") == "trainjob.trainserve.io/kept\n"
    assert kubectl("-n", "trainserve-chart", "get", "deployments,services", "-o", "name") == ""
    kubectl("-n", "trainserve-chart", "wait", "--for=delete", "pods", "--all", "--timeout=60s")


def _what_happened(kubectl: Kubectl) -> str:
    events = kubectl("-n", "trainserve-chart", "get", "events", "--sort-by=.lastTimestamp")
    pods = kubectl("-n", "trainserve-chart", "describe", "pods")
    logs = kubectl("-n", "trainserve-chart", "logs", "deployment/trainserve-operator", "--tail=50")
    return f"{events}\n{pods}\n{logs}"
