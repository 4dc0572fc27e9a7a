"""What an API server is given: TrainServe's kinds, the operator's ServiceAccount with exactly the chart's role, and
Prometheus' ServiceAccount."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

import yaml
from lightkube import ApiError, Client, KubeConfig
from lightkube.generic_resource import create_global_resource, create_namespaced_resource
from lightkube.models.authentication_v1 import TokenRequestSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ServiceAccount, ServiceAccountToken

from trainserve.dev.state import SYSTEM_NAMESPACE

OPERATOR = "trainserve-operator"
ROLE = "trainserve-dev-operator"
"""Not the chart's name for it, so that the chart can be installed beside."""
PROMETHEUS = "prometheus"
"""Name of Prometheus' ServiceAccount, and of its role."""
TOKEN_SECONDS = 365 * 24 * 3600

Object = dict[str, Any]
_RESOURCES: dict[str, Any] = {
    "Namespace": create_global_resource("", "v1", "Namespace", "namespaces"),
    "ServiceAccount": create_namespaced_resource("", "v1", "ServiceAccount", "serviceaccounts"),
    "ClusterRole": create_global_resource("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles"),
    "ClusterRoleBinding": create_global_resource(
        "rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings"
    ),
    "Role": create_namespaced_resource("rbac.authorization.k8s.io", "v1", "Role", "roles"),
    "RoleBinding": create_namespaced_resource("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings"),
    "CustomResourceDefinition": create_global_resource(
        "apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions"
    ),
}


class BootstrapError(Exception):
    """The API server refused what it was given, or did not do in time what it always does; the message says what."""


def connect(kubeconfig: Path) -> Client:
    """A client for the kubeconfig's user; proxies of the environment are not used for loopback."""
    return Client(config=KubeConfig.from_file(kubeconfig), trust_env=False, field_manager="trainserve-dev")


def operator_objects(files: Path) -> list[Object]:
    """The operator's namespace, account and rights: `files` is the chart's folder with the `rules` of its ClusterRole,
    and of its Role in its own namespace."""
    everywhere, own = (
        yaml.safe_load((files / f"{name}.yaml").read_text())["rules"] for name in ("operator-role", "operator-own-role")
    )
    rbac, metadata = "rbac.authorization.k8s.io", {"name": ROLE, "namespace": SYSTEM_NAMESPACE}
    return [
        *_account(OPERATOR, ROLE, everywhere),
        {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": metadata, "rules": own},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": ROLE},
            "subjects": [{"kind": "ServiceAccount", "name": OPERATOR, "namespace": SYSTEM_NAMESPACE}],
        },
    ]


def prometheus_objects() -> list[Object]:
    """Prometheus' account and rights: to find pods, and no more."""
    return _account(PROMETHEUS, PROMETHEUS, [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}])


def _account(name: str, role: str, rules: list[Object]) -> list[Object]:
    rbac = "rbac.authorization.k8s.io"
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM_NAMESPACE}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": SYSTEM_NAMESPACE}},
        {"apiVersion": f"{rbac}/v1", "kind": "ClusterRole", "metadata": {"name": role}, "rules": rules},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": role},
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": SYSTEM_NAMESPACE}],
        },
    ]


def custom_resource_definitions(folder: Path) -> list[Object]:
    """The generated CRDs of the chart."""
    return [document for path in sorted(folder.glob("*.yaml")) for document in yaml.safe_load_all(path.read_text())]


def put(client: Client, wanted: Object) -> None:
    """Creates an object, or replaces the one of that name. Raises BootstrapError when it is refused.

    Not server-side apply, which Kubernetes 1.20 refuses for CRDs with fields that it does not know; a write drops them.
    Namespaces and service accounts are left as they are: the control plane keeps its own notes in them.
    """
    kind, metadata = wanted["kind"], wanted["metadata"]
    resource = _RESOURCES[kind]
    try:
        if not _created(client, wanted) and kind not in ("Namespace", "ServiceAccount"):
            namespace = metadata.get("namespace")
            version = client.get(resource, metadata["name"], namespace=namespace).metadata.resourceVersion
            client.replace(resource({**wanted, "metadata": {**metadata, "resourceVersion": version}}))
    except ApiError as error:
        raise BootstrapError(f"the API server refused {kind} {metadata['name']}: {error}") from error


def _created(client: Client, wanted: Object) -> bool:
    try:
        client.create(_RESOURCES[wanted["kind"]](wanted), namespace=wanted["metadata"].get("namespace"))
    except ApiError as error:
        if error.status.code == HTTPStatus.CONFLICT:
            return False
        raise
    return True


def bootstrap(client: Client, chart: Path, seconds: float = 60.0) -> None:
    """Applies the CRDs and the operator's rights, and returns once TrainJobs can be created. Raises BootstrapError."""
    definitions = custom_resource_definitions(chart / "files" / "crds")
    for wanted in [*definitions, *operator_objects(chart / "files")]:
        put(client, wanted)
    for definition in definitions:
        name = definition["metadata"]["name"]
        wait(partial(_established, client, name), f"CRD {name} to be established", seconds)
    wait(partial(accepts_pods, client), "the service account of namespace default", seconds)


def account_token(client: Client, account: str) -> str:
    """A token of a ServiceAccount of the system's namespace. Raises ApiError."""
    request = ServiceAccountToken(
        metadata=ObjectMeta(), spec=TokenRequestSpec(audiences=[], expirationSeconds=TOKEN_SECONDS)
    )
    answer = client.create(request, account, namespace=SYSTEM_NAMESPACE)
    assert answer.status is not None
    return str(answer.status.token)


def _established(client: Client, name: str) -> bool:
    definition = client.get(_RESOURCES["CustomResourceDefinition"], name)
    conditions = (definition.get("status") or {}).get("conditions") or []
    return any(each["type"] == "Established" and each["status"] == "True" for each in conditions)


def accepts_pods(client: Client) -> bool:
    """Whether namespace `default` has its service account, without which no pod is admitted."""
    try:
        client.get(ServiceAccount, "default", namespace="default")
    except ApiError as error:
        if error.status.code == HTTPStatus.NOT_FOUND:
            return False
        raise
    return True


def wait(condition: Callable[[], bool], what: str, seconds: float) -> None:
    """Returns once `condition` holds; raises BootstrapError after `seconds`."""
    give_up = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > give_up:
            raise BootstrapError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.05)
