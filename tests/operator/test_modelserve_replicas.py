"""Replicas of a ModelServe: validation, disruption budgets, and the number that runs."""

from __future__ import annotations

import pytest

from tests.operator.serving import (
    FIRST,
    SUFFIX,
    Serve,
)
from tests.operator.support import DIGEST, condition
from trainserve.operator.objects import Object
from trainserve.operator.plan import Delete

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
