"""Objects that the API server needs: TrainServe's kinds, the operator's ServiceAccount with exactly the chart's role,
and Prometheus' ServiceAccount."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from pathlib import Path

import yaml

from trainserve.dev.kube import KINDS, ApiError, Client, Object, Request, is_true
from trainserve.dev.state import SYSTEM_NAMESPACE

OPERATOR = "trainserve-operator"
ROLE = "trainserve-dev-operator"
"""Name of the operator's role; it differs from the chart's, so that the chart can be installed too."""
PROMETHEUS = "prometheus"
"""Name of Prometheus' ServiceAccount, and of its role."""
TOKEN_SECONDS = 365 * 24 * 3600


class BootstrapError(Exception):
    """The API server refused an object, or did not become usable in time; the message says which."""


def operator_objects(files: Path) -> list[Object]:
    """Return the operator's namespace, account and rights.

    `files` is the chart's folder with the `rules` of the operator's ClusterRole and of the Role in its own namespace.
    """
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
    """Return Prometheus' account and rights: only to list and watch pods."""
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
    """Return the chart's generated CRDs from `folder`."""
    return [document for path in sorted(folder.glob("*.yaml")) for document in yaml.safe_load_all(path.read_text())]


def put(client: Client, wanted: Object) -> None:
    """Create an object, or replace an existing one of that name. Raises BootstrapError if the server refuses it.

    Server-side apply is not used: Kubernetes 1.20 refuses it for CRDs with unknown fields, which a plain write drops.
    Existing namespaces and service accounts are not changed, because the control plane stores its own data in them.
    """
    kind, metadata = wanted["kind"], wanted["metadata"]
    try:
        if not _created(client, wanted) and kind not in ("Namespace", "ServiceAccount"):
            known = client.get(kind, metadata["name"], metadata.get("namespace"))["metadata"]
            client.replace(kind, wanted | {"metadata": metadata | {"resourceVersion": known["resourceVersion"]}})
    except ApiError as error:
        raise BootstrapError(f"the API server refused {kind} {metadata['name']}: {error}") from error


def _created(client: Client, wanted: Object) -> bool:
    try:
        client.create(wanted["kind"], wanted)
    except ApiError as error:
        if error.status == HTTPStatus.CONFLICT:
            return False
        raise
    return True


def bootstrap(client: Client, chart: Path, seconds: float = 60.0) -> None:
    """Apply the CRDs and the operator's rights, and return once TrainJobs can be created. Raises BootstrapError."""
    definitions = custom_resource_definitions(chart / "files" / "crds")
    for wanted in [*definitions, *operator_objects(chart / "files")]:
        put(client, wanted)
    for definition in definitions:
        name = definition["metadata"]["name"]
        wait(partial(_established, client, name), f"CRD {name} to be established", seconds)
    wait(partial(accepts_pods, client), "the service account of namespace default", seconds)


def account_token(client: Client, account: str) -> str:
    """Return a token of a ServiceAccount in the system's namespace. Raises ApiError."""
    path = KINDS["ServiceAccount"].path(SYSTEM_NAMESPACE, account, "token")
    return str(client.send(Request("POST", path, {"spec": {"expirationSeconds": TOKEN_SECONDS}}))["status"]["token"])


def _established(client: Client, name: str) -> bool:
    return is_true(client.get("CustomResourceDefinition", name), "Established")


def accepts_pods(client: Client) -> bool:
    """Return whether namespace `default` has its service account, without which no pod is admitted."""
    return client.find("ServiceAccount", "default", "default") is not None


def wait(condition: Callable[[], bool], what: str, seconds: float) -> None:
    """Return once `condition` holds; raise BootstrapError after `seconds`."""
    give_up = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > give_up:
            raise BootstrapError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.05)
