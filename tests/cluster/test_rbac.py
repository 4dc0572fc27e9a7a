"""The operator's ServiceAccount can do what the chart's role says and nothing else."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import yaml
from lightkube.models.authorization_v1 import ResourceAttributes, SubjectAccessReviewSpec
from lightkube.resources.authorization_v1 import SubjectAccessReview

from tests.cluster.support import Kube

ROLE = Path("charts/trainserve/files/operator-role.yaml")
USER = "system:serviceaccount:trainserve-system:trainserve-operator"
VERBS = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"]

Right = tuple[str, str, str]


def granted() -> set[Right]:
    """(verb, API group, resource) that the chart's role grants."""
    rights: set[Right] = set()
    for rule in yaml.safe_load(ROLE.read_text())["rules"]:
        rights |= set(product(rule["verbs"], rule["apiGroups"], rule["resources"]))
    return rights


def served(kube: Kube) -> list[tuple[str, str]]:
    """(API group, resource) of everything the server has, subresources included."""
    text = kube.kubectl("api-resources", "--no-headers", "-o", "wide").stdout
    assert text
    pairs = set()
    for line in text.splitlines():
        columns = line.split()
        name = columns[0]
        group_version = next(c for c in columns if c == "v1" or "/v" in c)
        pairs.add((group_version.rpartition("/")[0], name))
    extra = {("", f"pods/{sub}") for sub in ("exec", "log", "attach", "portforward", "eviction", "status")}
    return sorted(pairs | extra | {(group, name) for _, group, name in granted()})


def test_no_rule_is_a_wildcard() -> None:
    assert not any("*" in right for right in granted())


def test_every_verb_that_is_not_in_the_role_is_denied(kube: Kube) -> None:
    rights = granted()

    def allowed(right: Right) -> bool:
        verb, group, resource = right
        name, _, subresource = resource.partition("/")
        attributes = ResourceAttributes(
            verb=verb, group=group, resource=name, subresource=subresource or None, namespace=kube.namespace
        )
        review = SubjectAccessReview(
            spec=SubjectAccessReviewSpec(
                user=USER,
                groups=["system:serviceaccounts", "system:serviceaccounts:trainserve-system", "system:authenticated"],
                resourceAttributes=attributes,
            )
        )
        status = kube.client.create(review).status
        assert status is not None
        return status.allowed

    asked = [(verb, group, resource) for verb, (group, resource) in product(VERBS, served(kube))]
    with ThreadPoolExecutor(8) as pool:
        answers = dict(zip(asked, pool.map(allowed, asked), strict=True))
    # What every authenticated user may do is not the role's doing.
    anyone = {("create", "authorization.k8s.io", r) for r in ("selfsubjectaccessreviews", "selfsubjectrulesreviews")}
    anyone |= {("create", "authentication.k8s.io", "selfsubjectreviews")}
    assert {right for right, yes in answers.items() if yes} - anyone == rights & set(asked)
    assert len(asked) > 300
