"""The NetworkPolicies that the operator creates: which peers reach which port."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import kubernetes_validate
import pytest

from tests.operator.serving import FIRST, Serve
from tests.operator.support import trainjob
from trainserve.api.modelserve import ModelServeSpec
from trainserve.api.trainjob import TrainJobSpec
from trainserve.operator.modelserve import builders
from trainserve.operator.network import VARIABLE
from trainserve.operator.objects import Object
from trainserve.operator.settings import InvalidSetting, Settings
from trainserve.operator.specs import InvalidSpec, parse_modelserve
from trainserve.operator.trainjob.builders import attempt_objects

SERVE: Object = trainjob(name="web") | {"kind": "ModelServe", "spec": {}}
OPERATOR = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "trainserve-system"}}}
PROMETHEUS = {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app.kubernetes.io/name": "prometheus"}}}
SETTINGS = Settings.from_environment({VARIABLE: json.dumps({"operator": [OPERATOR], "prometheus": [PROMETHEUS]})})


def reachable(policy: Object) -> dict[int | str, list[Any]]:
    """Return the allowed peers by port; a rule without ports has the key "all"."""
    kubernetes_validate.validate(policy, "1.25", strict=True)
    assert policy["spec"]["policyTypes"] == ["Ingress"]
    return {
        port: rule["from"]
        for rule in policy["spec"]["ingress"]
        for port in [each["port"] for each in rule.get("ports", [])] or ["all"]
    }


def of_serve(**spec: Any) -> Object:
    assert SETTINGS.peers is not None
    wanted = ModelServeSpec.model_validate({"model": {"name": "digits"}} | spec)
    return builders.network_policy(SERVE, wanted, SETTINGS.peers)


def test_a_service_is_reached_by_its_namespace_and_its_metrics_by_ours() -> None:
    policy = of_serve()
    assert policy["spec"]["podSelector"] == {"matchLabels": {"trainserve.io/modelserve": SERVE["metadata"]["name"]}}
    assert reachable(policy) == {
        8000: [{"podSelector": {}}],
        8001: [{"podSelector": {}}],
        8002: [PROMETHEUS],
        9401: [OPERATOR, PROMETHEUS],
    }


def test_a_service_is_reached_by_whom_it_names_and_by_nobody_else() -> None:
    clients = [{"namespaceSelector": {"matchLabels": {"team": "web"}}}, {"ipBlock": {"cidr": "10.0.0.0/8"}}]
    found = reachable(of_serve(clients=clients))
    assert (found[8000], found[8001], found[8002]) == (clients, clients, [PROMETHEUS])
    assert reachable(of_serve(clients=[])).keys() == {8002, 9401}


def test_a_gang_is_reached_by_itself_and_its_progress_by_ours() -> None:
    job = trainjob(workers={"nodes": 2})
    policy, *others = attempt_objects(job, TrainJobSpec.model_validate(job["spec"]), 1, SETTINGS)
    own = {"matchLabels": {"trainserve.io/trainjob": job["metadata"]["name"]}}
    assert policy["spec"]["podSelector"] == own
    assert reachable(policy) == {"all": [{"podSelector": own}], 9400: [OPERATOR, PROMETHEUS]}
    assert all(each["kind"] != "NetworkPolicy" for each in others)
    plain = Settings.from_environment({})
    assert attempt_objects(job, TrainJobSpec.model_validate(job["spec"]), 1, plain) == others


def test_a_policy_follows_its_spec_and_goes_where_the_chart_wants_none() -> None:
    serve = Serve(FIRST)

    def step(**spec: Any) -> tuple[list[Object], list[str]]:
        serve.object["spec"] |= spec
        done = serve.step()
        applied = [each for each in done.apply if each["kind"] == "NetworkPolicy"]
        return applied, [each.name for each in done.delete if each.kind == "NetworkPolicy"]

    assert step() == ([], [])
    serve.chart = replace(serve.chart, peers=SETTINGS.peers)
    (first,), _ = step()
    assert step() == ([], [])
    (second,), _ = step(clients=[])
    assert first["spec"] != second["spec"]
    serve.chart = replace(serve.chart, peers=None)
    assert step() == ([], ["modelserve.digits"])


@pytest.mark.parametrize(
    ("peer", "said"),
    [
        ({}, "exactly one of ipBlock"),
        ({"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}, "exactly one of ipBlock"),
        ({"ipBlock": {"cidr": "everywhere"}}, "spec.clients"),
        ({"pods": {}}, "unknown field"),
    ],
)
def test_a_client_that_cannot_be_meant_is_refused_by_name(peer: Object, said: str) -> None:
    with pytest.raises(InvalidSpec, match=said):
        parse_modelserve({**SERVE, "spec": {"model": {"name": "digits"}, "clients": [peer]}})


@pytest.mark.parametrize("text", ["{", "{}", '{"operator": [{}], "prometheus": []}'])
def test_peers_that_cannot_be_meant_are_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidSetting, match=VARIABLE):
        Settings.from_environment({VARIABLE: text})
