"""The operator's ServiceAccount has exactly the rights of the chart's role."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import pytest
import yaml

from tests.cluster.support import Kube, Object

ROLE = Path("charts/trainserve/files/operator-role.yaml")
USER = "system:serviceaccount:trainserve-system:trainserve-operator"
GROUPS = ["system:serviceaccounts", "system:serviceaccounts:trainserve-system", "system:authenticated"]
VERBS = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"]
MIGHTY_VERBS = ["escalate", "bind", "impersonate", "use", "approve", "sign", "proxy", "*"]
"""Verbs that are not requests of their own and allow privilege escalation."""
UNLISTED = [("", "users"), ("", "groups"), ("authentication.k8s.io", "userextras/scopes"), ("", "*"), ("*", "*")]
"""Resources that can be granted but appear in no API listing."""

Right = tuple[str, str, str]
"""Verb, API group, resource with its subresource."""


def granted() -> set[Right]:
    """Return the rights that the chart's role grants."""
    rights: set[Right] = set()
    for rule in yaml.safe_load(ROLE.read_text())["rules"]:
        rights |= set(product(rule["verbs"], rule["apiGroups"], rule["resources"]))
    return rights


def served(kube: Kube) -> set[tuple[str, str]]:
    """Return (API group, resource) of every resource of the server, subresources included."""
    pairs = set()
    for version in kube.kubectl("api-versions").stdout.split():
        group, _, _ = version.rpartition("/")
        listed = json.loads(kube.kubectl("get", "--raw", f"/apis/{version}" if group else f"/api/{version}").stdout)
        pairs |= {(resource.get("group", group), resource["name"]) for resource in listed["resources"]}
        pairs |= {(group, resource["name"]) for resource in listed["resources"]}
    return pairs


def allowed(kube: Kube, right: Right, namespace: str | None) -> bool:
    """Return the server's own decision; without a namespace, for the whole cluster."""
    verb, group, resource = right
    name, _, subresource = resource.partition("/")
    attributes = {"verb": verb, "group": group, "resource": name}
    attributes |= {"subresource": subresource} if subresource else {}
    attributes |= {"namespace": namespace} if namespace else {}
    return review(kube, {"resourceAttributes": attributes})


def review(kube: Kube, attributes: Object) -> bool:
    spec = {"user": USER, "groups": GROUPS, **attributes}
    return bool(kube.client.create("SubjectAccessReview", {"spec": spec})["status"]["allowed"])


def test_no_rule_is_a_wildcard() -> None:
    assert not any("*" in right for right in granted())


@pytest.mark.parametrize("scope", ["namespace", "cluster"])
def test_every_verb_that_is_not_in_the_role_is_denied(kube: Kube, scope: str) -> None:
    rights = granted()
    resources = served(kube) | {(group, name) for _, group, name in rights} | set(UNLISTED)
    asked = [(verb, group, name) for verb, (group, name) in product(VERBS + MIGHTY_VERBS, sorted(resources))]
    assert {
        ("", "pods/exec"),
        ("", "serviceaccounts/token"),
        ("rbac.authorization.k8s.io", "clusterroles"),
    } <= resources
    namespace = kube.namespace if scope == "namespace" else None
    with ThreadPoolExecutor(8) as pool:
        answers = dict(zip(asked, pool.map(lambda right: allowed(kube, right, namespace), asked), strict=True))
    # Rights of every authenticated user do not come from the role.
    anyone = {("create", "authorization.k8s.io", r) for r in ("selfsubjectaccessreviews", "selfsubjectrulesreviews")}
    anyone |= {("create", "authentication.k8s.io", "selfsubjectreviews")}
    assert {right for right, yes in answers.items() if yes} - anyone == rights & set(asked)
    assert rights <= set(asked)


@pytest.mark.parametrize("path", ["/metrics", "/logs/", "/debug/pprof/", "/configz"])
def test_the_servers_own_pages_are_denied(kube: Kube, path: str) -> None:
    assert not review(kube, {"nonResourceAttributes": {"path": path, "verb": "get"}})


@pytest.mark.parametrize(
    ("namespace", "name", "yes"),
    [
        ("trainserve-system", "trainserve-operator", True),
        ("trainserve-system", "another", False),
        ("kube-system", "trainserve-operator", False),
        ("kube-node-lease", "node", False),
    ],
)
def test_the_only_lease_that_it_may_change_is_its_own(kube: Kube, namespace: str, name: str, yes: bool) -> None:
    for verb in ("get", "update"):
        lease = {"group": "coordination.k8s.io", "resource": "leases", "namespace": namespace, "name": name}
        assert review(kube, {"resourceAttributes": {"verb": verb, **lease}}) is yes, verb
