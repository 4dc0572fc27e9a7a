"""Voluntary disruption: which evictions a node drain may make of a service with several replicas."""

from __future__ import annotations

import json

from tests.cluster.support import Kube, Object, condition, digits, is_true, wait_for


def budget(kube: Kube) -> Object:
    found = kube.kubectl("get", "poddisruptionbudget", "guarded", "-o", "json")
    return dict(json.loads(found.stdout)) if found.returncode == 0 else {}


def evict(kube: Kube, pod: str) -> str:
    """Evict a pod as `kubectl drain` does; return the server's message."""
    eviction = {"apiVersion": "policy/v1beta1", "kind": "Eviction", "metadata": {"name": pod}}
    version = kube.kubectl("api-versions").stdout.split()
    if "policy/v1" in version:
        eviction["apiVersion"] = "policy/v1"
    path = f"/api/v1/namespaces/{kube.namespace}/pods/{pod}/eviction"
    return kube.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction)).stderr


def test_a_drain_takes_one_replica_at_a_time(kube: Kube) -> None:
    kube.create("TrainJob", "guarded", digits(output={"model": "guarded"}))
    assert is_true(kube.finished("guarded"), "Complete")
    kube.create("ModelServe", "guarded", {"model": {"name": "guarded"}, "replicas": 2})
    serve = kube.wait("ModelServe", "guarded", lambda serve: condition(serve, "Ready").get("reason") == "Serving")
    assert condition(serve, "DisruptionBudget")["reason"] == "Guarded"
    wait_for(lambda: budget(kube).get("status", {}).get("disruptionsAllowed") == 1, 60, lambda: str(budget(kube)))
    first, second = sorted(pod["metadata"]["name"] for pod in kube.pods(modelserve="guarded") if served(pod))
    assert evict(kube, first) == ""
    assert "disruption budget" in evict(kube, second)
    kube.delete("ModelServe", "guarded")


def served(pod: Object) -> bool:
    return "trainserve.io/version" in pod["metadata"]["labels"]
