"""The few ways in which the operator writes to the API server, over lightkube."""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import httpx2
import kopf
from lightkube import ApiError, AsyncClient
from lightkube.config.client_adapter import AsyncClient as HttpClient
from lightkube.config.client_adapter import ConnectionParams, verify_cluster
from lightkube.config.kubeconfig import KubeConfig, SingleConfig
from lightkube.core.resource import api_info
from lightkube.generic_resource import create_namespaced_resource
from lightkube.types import PatchType

from trainserve.api import API_VERSION, GROUP, VERSION
from trainserve.operator import labels, said, times
from trainserve.operator.blocked import REJECTIONS, Changed, Leftover, NameTaken, Rejected
from trainserve.operator.cache import trim
from trainserve.operator.clock import ServerClock
from trainserve.operator.discovery import APIS, Discovery
from trainserve.operator.logs import about
from trainserve.operator.plan import Event, Object
from trainserve.operator.writes import Transport, Written

logger = logging.getLogger(__name__)

CONNECTIONS = 32
"""Of Kopf's pool: unlimited, it grows to hundreds of megabytes with a thousand objects."""
CHUNK = 50
"""Objects that are listed at once: each may be as large as etcd takes, and is far larger when it has been parsed."""
TOKEN_LIFETIME = timedelta(minutes=30)
"""After this a ServiceAccount's token file is read again; the kubelet renews it well before it expires."""

RESOURCES = {
    "TrainJob": create_namespaced_resource(GROUP, VERSION, "TrainJob", "trainjobs"),
    "ModelServe": create_namespaced_resource(GROUP, VERSION, "ModelServe", "modelserves"),
    "Pod": create_namespaced_resource("", "v1", "Pod", "pods"),
    "Service": create_namespaced_resource("", "v1", "Service", "services"),
    "ConfigMap": create_namespaced_resource("", "v1", "ConfigMap", "configmaps"),
    "Deployment": create_namespaced_resource("apps", "v1", "Deployment", "deployments"),
    "NetworkPolicy": create_namespaced_resource("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"),
    "Event": create_namespaced_resource("", "v1", "Event", "events"),
    "Lease": create_namespaced_resource("coordination.k8s.io", "v1", "Lease", "leases"),
}

KINDS = {api_info(resource).plural: kind for kind, resource in RESOURCES.items()}
KINDS |= {api.plural: kind for kind, api in APIS.items()}
"""By plural, as the path of a request has it."""
OWN_KINDS = ("TrainJob", "ModelServe")


def kube_config() -> SingleConfig:
    """The file that KUBECONFIG names, else the pod's own ServiceAccount."""
    path = os.environ.get("KUBECONFIG")
    config = (KubeConfig.from_file(path) if path else KubeConfig.from_service_account()).get()
    assert config is not None
    return config


def kopf_session(config: SingleConfig) -> kopf.AiohttpSession:
    """Kopf's HTTP session with a bounded pool, and a token that is read again before it expires."""
    user = config.user
    assert user is not None
    token = Path(user.token_file).read_text(encoding="utf-8").strip() if user.token_file else user.token
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=CONNECTIONS, ssl=_verify(config)),
        headers={"Authorization": f"Bearer {token}"} if token else {},
    )
    return kopf.AiohttpSession(
        server=config.cluster.server,
        aiohttp_session=session,
        expiration=datetime.now(UTC) + TOKEN_LIFETIME if user.token_file else None,
    )


def _verify(config: SingleConfig) -> ssl.SSLContext | bool:
    """How the server proves who it is, and the operator, where it does so by a certificate."""
    if not config.cluster.server.startswith("https"):
        return False
    assert config.user is not None
    return verify_cluster(config.cluster, config.user, config.abs_file)


class Client:
    """Reads and writes of plain JSON objects, under one field manager.

    A write names the resourceVersion of the object that it was planned from: where somebody was faster it raises
    Changed, and nothing is written. Where `may_write` says no, no write but that of a Lease goes out.
    """

    def __init__(
        self,
        config: SingleConfig,
        written: Written,
        may_write: Callable[[], bool] = lambda: True,
        namespaces: Sequence[str] = (),
    ) -> None:
        """`namespaces`: those that may be listed; none: all."""
        self._namespaces = namespaces or ("*",)
        timeout, self._clock = httpx2.Timeout(10.0), ServerClock()
        one, other = (Transport(KINDS, written, may_write, self._clock, _verify(config)) for _ in range(2))
        self._client = AsyncClient(config, field_manager=labels.MANAGER, timeout=timeout, transport=one)
        # lightkube's annotation is that of the client that waits.
        self._http = HttpClient(config, ConnectionParams(timeout=timeout, transport=other))  # type: ignore[arg-type]
        """For what lightkube has no words for: preconditions, discovery."""
        self.discovery = Discovery(self._served)

    def now(self) -> datetime:
        """This instant by the API server's clock."""
        return self._clock.now()

    async def list(self, kind: str) -> tuple[list[Object], int]:
        """Every object of a kind that concerns us, as the cache keeps it, and the revision at which that was so (the
        oldest of several)."""
        selector: Any = None if kind in OWN_KINDS else {labels.MANAGED_BY: labels.MANAGER}
        if kind in APIS and self.discovery.version(kind) is None:
            return [], 0
        objects: list[Object] = []
        revisions: list[int] = []
        for namespace in self._namespaces:
            found = self._client.list(self._resource(kind), namespace=namespace, labels=selector, chunk_size=CHUNK)
            objects += [trim(kind, dict(item)) async for item in found]
            revisions.append(int(found.resourceVersion))
        return objects, min(revisions)

    async def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """The object as it is now, or None."""
        if kind in OWN_KINDS:  # they are listed and watched: no right to `get` one is needed
            found = self._client.list(self._resource(kind), namespace=namespace, fields={"metadata.name": name})
            return next((dict(item) for item in [item async for item in found]), None)
        try:
            return dict(await self._client.get(self._resource(kind), name, namespace=namespace))
        except ApiError as error:
            if error.status.code == 404:
                return None
            raise

    async def create(self, wanted: Object) -> Object:
        """Create the object, or answer the existing one if its owner is the same. Raises Blocked."""
        try:
            return dict(await self._client.create(self._resource(wanted["kind"]).from_dict(wanted)))
        except ApiError as error:
            if error.status.code != 409:
                raise _told(wanted, error) from error
        existing = await self._ours(wanted)
        if existing is None:
            raise Leftover(f"{_place(wanted)} is just being deleted")
        return existing

    async def apply(self, wanted: Object, known: Object | None) -> Object:
        """Bring the object to this state by server-side apply. Raises Blocked, or Changed.

        `known`: the object as the caller has seen it, with the same owner.
        """
        known = known or await self._ours(wanted)
        body = wanted if known is None else _planned_from(known, wanted)
        metadata = wanted["metadata"]
        try:
            applied = await self._client.patch(
                self._resource(wanted["kind"]),
                metadata["name"],
                body,
                namespace=metadata["namespace"],
                patch_type=PatchType.APPLY,
                force=True,
            )
        except ApiError as error:
            if error.status.code == 409:
                raise Changed(wanted["kind"], metadata["namespace"], metadata["name"]) from error
            raise _told(wanted, error) from error
        return dict(applied)

    async def record(self, wanted: Object) -> Object:
        """Add to a ConfigMap that nobody owns what it does not hold yet; what it holds stays. Raises Blocked, or
        Changed."""
        resource, metadata = self._resource("ConfigMap"), wanted["metadata"]
        place = metadata["namespace"], metadata["name"]
        known = await self.get("ConfigMap", *place)
        try:
            if known is None:
                return dict(await self._client.create(resource.from_dict(wanted)))
            if not labels.is_labelled(known):
                raise NameTaken(f"{_place(wanted)} belongs to something else")
            data = wanted["data"] | (known.get("data") or {})
            patch = {"metadata": {"resourceVersion": known["metadata"]["resourceVersion"]}, "data": data}
            return dict(
                await self._client.patch(resource, place[1], patch, namespace=place[0], patch_type=PatchType.MERGE)
            )
        except ApiError as error:
            if error.status.code == 409:
                raise Changed("ConfigMap", *place) from error
            raise _told(wanted, error) from error

    async def _ours(self, wanted: Object) -> Object | None:
        metadata = wanted["metadata"]
        existing = await self.get(wanted["kind"], metadata["namespace"], metadata["name"])
        (owner,) = metadata["ownerReferences"]
        if existing is None or labels.owned_by(existing, owner["uid"]):
            return existing
        if labels.is_orphan(existing):
            left = f"was left by an earlier {owner['kind']}, deleted with --cascade=orphan"
            command = f"kubectl -n {metadata['namespace']} delete {wanted['kind'].lower()} {metadata['name']}"
            raise NameTaken(f"{_place(wanted)} {left}: nothing is made anew while it is there; {command}")
        if not labels.owned_by_namesake(existing, owner):
            raise NameTaken(f"{_place(wanted)} belongs to something else")
        if await self._uid_now(owner["kind"], metadata["namespace"], owner["name"]) == owner["uid"]:
            await self._delete_exactly(wanted["kind"], existing)
        raise Leftover(f"{_place(wanted)} of an earlier {owner['kind']} of that name is being deleted")

    async def _uid_now(self, kind: str, namespace: str, name: str) -> str | None:
        """Of an owner, not from the cache: a replica that lags behind must not take the newer one's child for old."""
        found = await self.get(kind, namespace, name)
        return None if found is None else str(found["metadata"]["uid"])

    async def _delete_exactly(self, kind: str, existing: Object) -> None:
        """Delete this object and no other that may have its name by now; what it made goes after it."""
        if "deletionTimestamp" not in existing["metadata"]:
            await self._delete(kind, existing, {"preconditions": {"uid": existing["metadata"]["uid"]}})

    async def delete(self, child: Object, *, force: bool = False) -> None:
        """Delete a child as it was seen; one that is gone already is as good. Raises Changed.

        `force` does not wait for a node that may never answer again.
        """
        metadata = child["metadata"]
        seen = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
        options: dict[str, Any] = {"preconditions": seen} | ({"gracePeriodSeconds": 0} if force else {})
        if await self._delete(child["kind"], child, options) == 409:
            raise Changed(child["kind"], metadata["namespace"], metadata["name"])

    async def _delete(self, kind: str, existing: Object, options: dict[str, Any]) -> int:
        """The answer's HTTP status: 404 and 409 are for the caller to judge."""
        metadata, api = existing["metadata"], api_info(self._resource(kind))
        base = "api" if not api.resource.group else f"apis/{api.resource.group}"
        answer = await self._http.request(
            "DELETE",
            f"{base}/{api.resource.version}/namespaces/{metadata['namespace']}/{api.plural}/{metadata['name']}",
            json={"propagationPolicy": "Background", **options},
        )
        if answer.status_code not in (404, 409):
            answer.raise_for_status()
        return int(answer.status_code)

    async def write_status(self, owner: Object, change: Object) -> Object | None:
        """Merge `change` into the status; None when the object is gone. Raises Changed.

        A list is merged as a whole: it must be of the same version as the rest.
        """
        metadata = owner["metadata"]
        seen = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
        try:
            written = await self._client.patch(
                self._resource(owner["kind"]).Status,
                metadata["name"],
                {"metadata": seen, "status": change},
                namespace=metadata["namespace"],
                patch_type=PatchType.MERGE,
            )
        except ApiError as error:
            if error.status.code == 404:
                return None
            if error.status.code == 409:
                raise Changed(owner["kind"], metadata["namespace"], metadata["name"]) from error
            raise
        return dict(written)

    async def tell(self, owner: Object, event: Event) -> None:
        """Post an event about `owner`. Its name follows from what it says, so telling it twice is one event.

        One that the server rejects (its namespace is going, say) is let go: it would be rejected again.
        """
        metadata = owner["metadata"]
        instant = times.to_text(self.now())
        name = f"{metadata['name']}.{metadata['uid'][:8]}.{event.key}".lower()
        body = {
            "metadata": {"name": name, "namespace": metadata["namespace"]},
            "involvedObject": {
                "apiVersion": API_VERSION,
                "kind": owner["kind"],
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
            },
            "type": event.type,
            "reason": event.reason,
            "message": said.shortened(event.message, 1024),
            "source": {"component": labels.MANAGER},
            "firstTimestamp": instant,
            "lastTimestamp": instant,
            "count": 1,
        }
        try:
            await self._client.create(self._resource("Event").from_dict(body))
        except ApiError as error:
            if error.status.code in REJECTIONS:
                place = owner["kind"], metadata["namespace"], metadata["name"]
                extra = about(*place, metadata["uid"])
                logger.warning("%s %s/%s: event %s: %s", *place, event.reason, error, extra=extra)
            elif error.status.code != 409:
                raise

    async def get_lease(self, namespace: str, name: str) -> Object | None:
        """The lease with its resourceVersion, or None."""
        return await self.get("Lease", namespace, name)

    async def put_lease(self, lease: Object) -> bool:
        """Create or replace the lease; False when somebody else was faster."""
        resource = self._resource("Lease").from_dict(lease)
        try:
            if "resourceVersion" in lease["metadata"]:
                await self._client.replace(resource)
            else:
                await self._client.create(resource)
        except ApiError as error:
            if error.status.code == 409:
                return False
            raise
        return True

    def _resource(self, kind: str) -> Any:
        """As lightkube knows the kind; raises KeyError for one that the cluster does not have."""
        if kind not in APIS:
            return RESOURCES[kind]
        version = self.discovery.version(kind)
        if version is None:
            raise KeyError(f"{APIS[kind].named()}: not served")
        return create_namespaced_resource(APIS[kind].group, version, kind, APIS[kind].plural)

    async def _served(self, group: str, version: str) -> set[str]:
        answer = await self._http.get(f"apis/{group}/{version}")
        if answer.status_code == 404:
            return set()
        answer.raise_for_status()
        return {str(resource["name"]) for resource in answer.json()["resources"]}

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()
        await self._http.aclose()


def _planned_from(known: Object, wanted: Object) -> Object:
    """What is applied, on the condition that the object is still the one that was seen."""
    return wanted | {"metadata": wanted["metadata"] | {"resourceVersion": known["metadata"]["resourceVersion"]}}


def _told(wanted: Object, error: ApiError) -> Exception:
    """The error in the form that a user is told, if it is about the child."""
    if error.status.code not in REJECTIONS:
        return error
    return Rejected(f"{_place(wanted)}: {error.status.message}")


def _place(wanted: Object) -> str:
    return f"{wanted['kind']} {wanted['metadata']['namespace']}/{wanted['metadata']['name']}"
