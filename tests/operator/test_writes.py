"""Which requests count as writes, and of which object."""

from __future__ import annotations

import pytest

from trainserve.operator.client import KINDS
from trainserve.operator.rest import APPLY
from trainserve.operator.writes import Write, write_of

MERGE = "application/merge-patch+json"


@pytest.mark.parametrize(
    ("method", "path", "content", "write"),
    [
        ("POST", "/api/v1/namespaces/a/pods", "application/json", Write("create", "Pod", "a", None, False)),
        ("PATCH", "/apis/apps/v1/namespaces/a/deployments/b", APPLY, Write("apply", "Deployment", "a", "b", False)),
        (
            "PATCH",
            "/apis/trainserve.io/v1alpha1/namespaces/a/trainjobs/b/status",
            MERGE,
            Write("patch", "TrainJob", "a", "b", True),
        ),
        (
            "PUT",
            "/apis/coordination.k8s.io/v1/namespaces/a/leases/b",
            "application/json",
            Write("update", "Lease", "a", "b", False),
        ),
        ("DELETE", "/api/v1/namespaces/a/services/b", "", Write("delete", "Service", "a", "b", False)),
        (
            "PATCH",
            "/k8s/clusters/c-1/apis/policy/v1beta1/namespaces/a/poddisruptionbudgets/b",
            APPLY,
            Write("apply", "PodDisruptionBudget", "a", "b", False),
        ),
        ("GET", "/api/v1/namespaces/a/pods/b", "", None),
        ("GET", "/apis/policy/v1", "", None),
    ],
)
def test_a_request_is_known_by_its_method_and_path(method: str, path: str, content: str, write: Write | None) -> None:
    assert write_of(method, path, content, KINDS) == write
