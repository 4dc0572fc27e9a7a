"""Rights of the operator's account and of users, and what an admission policy removes from them."""

from __future__ import annotations

import copy
import json
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests import cel
from tests.chart.conftest import CHART, Manifest, Render, of_kind
from tests.operator.test_every_pod import CASES, pods
from trainserve.operator.lease import NAME
from trainserve.operator.settings import Settings

WATCHED = 'watchNamespaces=["team-a", "team-b"]'
POLICY = ('admissionPolicy={"enabled": true}', 'store={"root": "file:///srv/models"}')


def rules(name: str) -> Any:
    return yaml.safe_load((CHART / "files" / f"{name}.yaml").read_text())["rules"]


def test_the_lease_is_the_only_one_that_it_may_change_and_only_in_its_own_namespace(render: Render) -> None:
    manifests = render()
    (role,), (everywhere,) = of_kind(manifests, "Role"), rights(manifests)
    assert role["metadata"]["namespace"] == "trainserve-system"
    changing = [rule for rule in role["rules"] if set(rule["verbs"]) != {"create"}]
    assert [(rule["resources"], rule["resourceNames"]) for rule in changing] == [(["leases"], [NAME])]
    assert not any("leases" in rule["resources"] for rule in everywhere["rules"])
    (binding,) = of_kind(manifests, "RoleBinding")
    assert binding["roleRef"]["name"] == role["metadata"]["name"]


def rights(manifests: list[Manifest]) -> list[Manifest]:
    """The operator's own ClusterRoles."""
    return [role for role in of_kind(manifests, "ClusterRole") if not any("aggregate" in each for each in labels(role))]


def labels(manifest: Manifest) -> dict[str, str]:
    return dict(manifest["metadata"]["labels"])


def test_with_namespaces_to_watch_it_has_roles_there_and_nothing_in_the_rest(render: Render) -> None:
    manifests = render(WATCHED)
    assert rights(manifests) == of_kind(manifests, "ClusterRoleBinding") == []
    there = [role for role in of_kind(manifests, "Role") if role["metadata"]["namespace"] != "trainserve-system"]
    assert {role["metadata"]["namespace"]: role["rules"] for role in there} == dict.fromkeys(
        ("team-a", "team-b"), rules("operator-role")
    )
    bound = {each["metadata"]["namespace"]: each for each in of_kind(manifests, "RoleBinding")}
    assert bound.keys() == {"team-a", "team-b", "trainserve-system"}
    (account,) = of_kind(manifests, "ServiceAccount")
    for each in bound.values():
        assert each["subjects"] == [
            {"kind": "ServiceAccount", "name": account["metadata"]["name"], "namespace": "trainserve-system"}
        ]
    (deployment,) = of_kind(manifests, "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert [each for each in container["command"] if "namespace" in each] == [
        "--namespace=team-a",
        "--namespace=team-b",
    ]
    environment = {entry["name"]: entry.get("value") or "" for entry in container["env"]}
    assert Settings.from_environment(environment).namespaces == ("team-a", "team-b")


def test_people_get_both_kinds_with_kubernetes_own_roles(render: Render) -> None:
    granted: dict[str, set[tuple[str, str]]] = {}
    for role in of_kind(render(), "ClusterRole"):
        kubernetes_validate.validate(role, "1.25", strict=True)
        for to in [each.rpartition("-")[2] for each in labels(role) if "aggregate-to" in each]:
            pairs = {
                (verb, resource) for rule in role["rules"] for resource in rule["resources"] for verb in rule["verbs"]
            }
            granted.setdefault(to, set()).update(pairs)
    kinds = ("trainjobs", "modelserves")
    assert granted.keys() == {"view", "edit", "admin"}
    assert {verb for verb, _ in granted["view"]} == {"get", "list", "watch"}
    for to in ("edit", "admin"):
        assert granted[to] >= {
            (verb, kind) for kind in kinds for verb in ("get", "create", "update", "patch", "delete")
        }
        assert ("patch", "modelserves/scale") in granted[to]
        assert {verb for verb, name in granted[to] if name.endswith("/status")} == {"get", "list", "watch"}


def refused(policy: Manifest, resource: str, operation: str, new: Any, old: Any = None) -> list[str]:
    """Return the policy's messages for a request, evaluated as the API server does."""
    given: dict[str, Any] = {
        "request": {"operation": operation, "resource": {"resource": resource}},
        "object": json.loads(json.dumps(new)),
        "oldObject": json.loads(json.dumps(old)),
        "variables": {},
    }
    for variable in policy["spec"]["variables"]:
        if variable["name"] in ("pod", "containers") and not given["variables"]["made"]:
            continue  # evaluated lazily, only where it is used
        given["variables"][variable["name"]] = cel.evaluate(variable["expression"], given)
    return [each["message"] for each in policy["spec"]["validations"] if not cel.evaluate(each["expression"], given)]


def admission(render: Render) -> Manifest:
    manifests = render(*POLICY)
    (policy,), (binding,) = (of_kind(manifests, f"ValidatingAdmissionPolicy{suffix}") for suffix in ("", "Binding"))
    for manifest in (policy, binding):
        kubernetes_validate.validate(manifest, "1.30", strict=True)
    assert binding["spec"]["policyName"] == policy["metadata"]["name"]
    return policy


def test_no_policy_is_made_unless_it_is_asked_for(render: Render) -> None:
    assert not of_kind(render(), "ValidatingAdmissionPolicy")


STORE = Settings.from_environment({"TRAINSERVE_STORE": "file:///srv/models"})


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_the_policy_takes_whatever_the_operator_makes(render: Render, case: tuple[str, str]) -> None:
    policy = admission(render)
    for pod in pods(case, STORE):
        if "ownerReferences" in pod["metadata"]:
            assert refused(policy, "pods", "CREATE", pod) == []
            assert refused(policy, "pods", "DELETE", None, pod) == []
        else:
            owners = [{"apiVersion": "trainserve.io/v1alpha1", "kind": "ModelServe", "name": "web", "uid": "1"}]
            metadata = pod["metadata"] | {"ownerReferences": owners}
            deployment = {"metadata": metadata, "spec": {"template": pod}}
            assert refused(policy, "deployments", "CREATE", deployment) == []
            assert refused(policy, "deployments", "UPDATE", deployment, deployment) == []


def test_the_policy_refuses_what_a_stolen_token_would_be_used_for(render: Render) -> None:
    policy = admission(render)
    (pod,) = pods(("job", "zoo"), STORE)
    container = pod["spec"]["containers"][0]

    def changed(spec: dict[str, Any] | None = None, **security: Any) -> list[str]:
        other = copy.deepcopy(pod)
        other["spec"] |= spec or {}
        other["spec"]["containers"][0]["securityContext"] |= security
        return refused(policy, "pods", "CREATE", other)

    privileged = "its containers are not privileged, cannot become so, and have no capabilities"
    assert changed(privileged=True) == [privileged]
    assert changed(allowPrivilegeEscalation=True) == [privileged]
    assert changed(capabilities={"drop": ["ALL"], "add": ["SYS_ADMIN"]}) == [privileged]
    assert changed({"initContainers": [{**container, "securityContext": {}}]}) == [privileged]
    assert changed({"hostPID": True}) == ["its pods share no namespace of the node"]
    assert changed({"automountServiceAccountToken": True}) == ["its pods have no token of the API"]
    assert changed({"serviceAccountName": "cluster-admin"}) == ["its pods have no token of the API"]
    assert changed({"volumes": [{"name": "root", "hostPath": {"path": "/"}}]}) == [
        "its pods mount no folder of the node but the store's and the cache's"
    ]
    assert changed({"securityContext": {}}) == ["its pods have the seccomp profile RuntimeDefault"]
    foreign = {"metadata": {"name": "kube-proxy", "labels": {"k8s-app": "kube-proxy"}}, "spec": {}}
    only = "the operator touches what has the label app.kubernetes.io/managed-by=trainserve alone"
    assert refused(policy, "pods", "DELETE", None, foreign) == [only]
    assert refused(policy, "services", "CREATE", {"metadata": {"name": "x"}}) == [
        only,
        "the operator makes what a TrainJob or a ModelServe owns, and its records of versions",
    ]
    taken = {"metadata": pod["metadata"], "spec": {}}
    assert refused(policy, "services", "UPDATE", taken, foreign) == [
        "the operator does not take over what is not its own"
    ]
