"""Blocking client of the API server: plain JSON objects over the REST layer of the official client."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import NamedTuple
from urllib.parse import urlencode

import yaml
from kubernetes.client import ApiException, Configuration
from kubernetes.client.rest import RESTClientObject, RESTResponse
from kubernetes.config.kube_config import KubeConfigLoader
from urllib3.exceptions import HTTPError

from trainserve.operator import conditions
from trainserve.operator.api_error import ApiError, Refused, refusal
from trainserve.operator.objects import Object
from trainserve.operator.resources import RESOURCES, Resource

__all__ = ["MERGE", "STRATEGIC", "ApiError", "Client", "Object", "Refused", "Request", "is_true"]

JSON = "application/json"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
CONNECTIONS = 32
"""Maximum number of connections that one client keeps open."""

_RBAC = "rbac.authorization.k8s.io"
KINDS = RESOURCES | {
    resource.kind: resource
    for resource in (
        Resource("", "v1", "Namespace", "namespaces"),
        Resource("", "v1", "Node", "nodes"),
        Resource("", "v1", "ServiceAccount", "serviceaccounts"),
        Resource("", "v1", "Secret", "secrets"),
        Resource("", "v1", "ResourceQuota", "resourcequotas"),
        Resource("", "v1", "LimitRange", "limitranges"),
        Resource("", "v1", "PersistentVolume", "persistentvolumes"),
        Resource("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
        Resource(_RBAC, "v1", "ClusterRole", "clusterroles"),
        Resource(_RBAC, "v1", "ClusterRoleBinding", "clusterrolebindings"),
        Resource(_RBAC, "v1", "Role", "roles"),
        Resource(_RBAC, "v1", "RoleBinding", "rolebindings"),
        Resource("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions"),
        Resource("authorization.k8s.io", "v1", "SubjectAccessReview", "subjectaccessreviews"),
        Resource("authorization.k8s.io", "v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews"),
    )
}
GLOBAL = {
    "Namespace",
    "Node",
    "PersistentVolume",
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "SubjectAccessReview",
    "SelfSubjectAccessReview",
}
"""Kinds without namespaces."""


def is_true(thing: Object, condition: str) -> bool:
    """Return whether the object has a condition of type `condition` with status True."""
    return conditions.is_true((thing.get("status") or {}).get("conditions"), condition)


class Request(NamedTuple):
    """A request; `path` starts at the server's root."""

    method: str
    path: str
    body: Object | None = None
    query: Mapping[str, str] = {}
    content_type: str = JSON


class Client:
    """Client of one API server with one user's credentials. Thread-safe.

    Every method raises ApiError or Refused if the server refuses the request, and ConnectionError if it does not answer
    within `seconds`. Objects without a namespace are in `namespace`.
    """

    def __init__(self, kubeconfig: Path, namespace: str = "default", seconds: float = 10.0) -> None:
        # Proxies of the environment are ignored, since the server is usually on this machine.
        config = Configuration(proxy="", no_proxy="", connection_pool_maxsize=CONNECTIONS)
        config.retries = False  # the caller decides whether a retry is useful
        # Not load_kube_config, which treats a colon in a path as a separator of two paths.
        content = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
        KubeConfigLoader(content, config_base_path=str(kubeconfig.absolute().parent)).load_and_set(config)
        self._rest, self._server, self._seconds = RESTClientObject(config), config.host, seconds
        self._token = config.get_api_key_with_prefix("BearerToken")
        self.namespace = namespace

    def create(self, kind: str, wanted: Object, *, dry_run: bool = False) -> Object:
        """Create the object; return it as stored by the server."""
        namespace = self._namespace(kind, wanted.get("metadata", {}).get("namespace"))
        query = {"dryRun": "All"} if dry_run else {}
        return self.send(Request("POST", KINDS[kind].path(namespace), KINDS[kind].typed(wanted), query))

    def get(self, kind: str, name: str, namespace: str | None = None) -> Object:
        """Return the object."""
        return self.send(Request("GET", self._path(kind, name, namespace)))

    def find(self, kind: str, name: str, namespace: str | None = None) -> Object | None:
        """Return the object, or None if it does not exist."""
        try:
            return self.get(kind, name, namespace)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def log(self, pod: str, namespace: str | None = None) -> list[str]:
        """Return the lines of the log of the pod's container."""
        return list(self._lines(Request("GET", self._path("Pod", pod, namespace, "log"))))

    def list(self, kind: str, namespace: str | None = None, selector: str = "") -> list[Object]:
        """Return the objects of a namespace that match the label selector `selector`."""
        query = {"labelSelector": selector} if selector else {}
        path = KINDS[kind].path(self._namespace(kind, namespace))
        return list(self.send(Request("GET", path, query=query))["items"])

    def patch(
        self,
        kind: str,
        name: str,
        change: Object,
        namespace: str | None = None,
        *,
        subresource: str | None = None,
        content_type: str = MERGE,
    ) -> Object:
        """Patch the object or its `subresource`; return the changed object."""
        path = self._path(kind, name, namespace, subresource)
        return self.send(Request("PATCH", path, change, content_type=content_type))

    def replace(self, kind: str, wanted: Object) -> Object:
        """Replace the object; return it as stored by the server."""
        metadata = wanted["metadata"]
        path = self._path(kind, metadata["name"], metadata.get("namespace"))
        return self.send(Request("PUT", path, KINDS[kind].typed(wanted)))

    def delete(self, kind: str, name: str, namespace: str | None = None, *, grace: int | None = None) -> None:
        """Request the deletion of the object; `grace` is in seconds."""
        options = {} if grace is None else {"gracePeriodSeconds": grace}
        self.send(Request("DELETE", self._path(kind, name, namespace), options))

    def watch(self, kind: str, query: dict[str, str], namespace: str | None = None) -> Iterator[Object]:
        """Yield watch events of a kind's objects until the server ends the watch."""
        path = KINDS[kind].path(self._namespace(kind, namespace))
        request = Request("GET", path, query={"watch": "true", **query})
        return (json.loads(line) for line in self._lines(request, limited=False))

    def send(self, request: Request) -> Object:
        """Send a request; return the object in the response."""
        found: Object = json.loads(self._read(self._open(request)))
        return found

    def close(self) -> None:
        """Close the connections."""
        self._rest.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _lines(self, request: Request, *, limited: bool = True) -> Iterator[str]:
        for line in self._open(request, limited=limited).response:
            yield line.decode().rstrip("\n")

    def _open(self, request: Request, *, limited: bool = True) -> RESTResponse:
        """Send the request; without `limited`, the response may take longer than `seconds`."""
        method, path, body, query, content_type = request
        headers = {"Accept": JSON, "Content-Type": content_type, "User-Agent": "trainserve-dev"}
        if self._token:
            headers["Authorization"] = self._token
        url = f"{self._server}{path}?{urlencode(query)}" if query else f"{self._server}{path}"
        limits = (self._seconds, self._seconds) if limited else None
        try:
            answer: RESTResponse = self._rest.request(method, url, headers, body, _request_timeout=limits)
        except (HTTPError, ApiException) as error:
            raise ConnectionError(str(error)) from error
        if answer.status >= 400:
            raise refusal(answer.status, self._read(answer))
        return answer

    def _read(self, answer: RESTResponse) -> bytes:
        try:
            read: bytes = answer.read()
        except HTTPError as error:
            raise ConnectionError(str(error)) from error
        return read

    def _path(self, kind: str, name: str, namespace: str | None, subresource: str | None = None) -> str:
        return KINDS[kind].path(self._namespace(kind, namespace), name, subresource)

    def _namespace(self, kind: str, namespace: str | None) -> str | None:
        return None if kind in GLOBAL else namespace or self.namespace
