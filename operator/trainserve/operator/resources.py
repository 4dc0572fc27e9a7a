"""Kinds of the Kubernetes API, with the paths at which the API server serves their objects."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import quote

from trainserve.api import GROUP, VERSION
from trainserve.operator.objects import Object


class Resource(NamedTuple):
    """A kind in one version of its API group; the core group is the empty string."""

    group: str
    version: str
    kind: str
    plural: str

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        """Return the path of an object, or of the collection if `name` is None.

        `namespace` is None for a kind without namespaces, and for the collection of all namespaces.
        """
        base = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        parts = [base, *(("namespaces", quote(namespace, safe="")) if namespace else ()), self.plural]
        parts += [quote(name, safe="")] if name else []
        return "/".join([*parts, subresource] if subresource else parts)

    def typed(self, body: Object) -> Object:
        """Return the object with its `apiVersion` and `kind`."""
        api_version = f"{self.group}/{self.version}" if self.group else self.version
        return {"apiVersion": api_version, "kind": self.kind, **body}


RESOURCES = {
    resource.kind: resource
    for resource in (
        Resource(GROUP, VERSION, "TrainJob", "trainjobs"),
        Resource(GROUP, VERSION, "ModelServe", "modelserves"),
        Resource("", "v1", "Pod", "pods"),
        Resource("", "v1", "Service", "services"),
        Resource("", "v1", "ConfigMap", "configmaps"),
        Resource("apps", "v1", "Deployment", "deployments"),
        Resource("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"),
        Resource("", "v1", "Event", "events"),
        Resource("coordination.k8s.io", "v1", "Lease", "leases"),
    )
}
"""Kinds that the operator reads or writes and that every supported cluster serves in this version."""
