"""The operator's reads and writes on the API server, over the official client."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import kopf
from kubernetes.aio.client import Configuration
from kubernetes.aio.client.rest import RESTClientObject

from trainserve.api import API_VERSION
from trainserve.operator import labels, rest, said, times
from trainserve.operator.api_error import ApiError, Refused
from trainserve.operator.blocked import REJECTIONS, Changed, Leftover, NameTaken, Rejected
from trainserve.operator.cache import trim
from trainserve.operator.clock import ServerClock
from trainserve.operator.discovery import APIS, Discovery
from trainserve.operator.logs import about
from trainserve.operator.objects import Object
from trainserve.operator.plan import Event
from trainserve.operator.resources import RESOURCES, Resource
from trainserve.operator.rest import APPLY, CONNECTIONS, MERGE
from trainserve.operator.writes import ToldRequests, Written

logger = logging.getLogger(__name__)

CHUNK = 50
"""Objects per page of a list: each may be as large as etcd allows, and takes far more memory once it is parsed."""
TOKEN_LIFETIME = timedelta(minutes=30)
"""Time after which Kopf reads a ServiceAccount's token file again; the kubelet renews it well before it expires."""
USER_AGENT = "trainserve-operator"

KINDS = {resource.plural: kind for kind, resource in RESOURCES.items()}
KINDS |= {api.plural: kind for kind, api in APIS.items()}
"""Kinds by the plural that stands in the path of a request."""
OWN_KINDS = ("TrainJob", "ModelServe")
MANAGER = {"fieldManager": labels.MANAGER}
"""Query of every write: the manager of the fields that it sets."""


async def kube_config() -> Configuration:
    """Return the configuration from the file that KUBECONFIG names, or else from the pod's own ServiceAccount."""
    return await rest.configuration(os.environ.get("KUBECONFIG"))


async def kopf_session(config: Configuration) -> kopf.AiohttpSession:
    """Return Kopf's HTTP session, with a bounded connection pool and a token that is read again before it expires.

    An unbounded pool grows to hundreds of megabytes with a thousand objects.
    """
    token = await rest.bearer(config)
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=CONNECTIONS, ssl=RESTClientObject(config).ssl_context),
        headers={"Authorization": token} if token else {},
    )
    renewed = config.refresh_api_key_hook is not None
    return kopf.AiohttpSession(
        server=config.host,
        aiohttp_session=session,
        expiration=datetime.now(UTC) + TOKEN_LIFETIME if renewed else None,
    )


class Client:
    """Reader and writer of plain JSON objects, under one field manager.

    A write names the resourceVersion of the object that it was planned from: if the object has changed since, it raises
    Changed and writes nothing. While `may_write` returns False, only the Lease is written.
    """

    def __init__(
        self,
        config: Configuration,
        written: Written,
        may_write: Callable[[], bool] = lambda: True,
        namespaces: Sequence[str] = (),
    ) -> None:
        """Set up requests to the server of `config`; lists cover `namespaces`, or all if it is empty."""
        self._namespaces: Sequence[str | None] = namespaces or (None,)
        self._clock = ServerClock()
        self._requests = ToldRequests(config, USER_AGENT, KINDS, written, may_write, self._clock)
        self.discovery = Discovery(self._served)

    def now(self) -> datetime:
        """Return the current time by the API server's clock."""
        return self._clock.now()

    async def list(self, kind: str) -> tuple[list[Object], int]:
        """Return every object of a kind that concerns the operator, as the cache keeps it, and the revision of the list
        (the oldest one if there are several namespaces)."""
        if kind in APIS and self.discovery.version(kind) is None:
            return [], 0
        selector = {} if kind in OWN_KINDS else {"labelSelector": labels.SELECTOR}
        objects: list[Object] = []
        revisions: list[int] = []
        for namespace in self._namespaces:
            query = {"limit": str(CHUNK), **selector}
            while True:
                chunk = await self._requests.send("GET", self._resource(kind).path(namespace), query=query)
                objects += [trim(kind, item) for item in chunk["items"]]
                if not (rest_of_it := chunk["metadata"].get("continue")):
                    break
                query["continue"] = rest_of_it
            revisions.append(int(chunk["metadata"]["resourceVersion"]))
        return objects, min(revisions)

    async def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """Return the object as the server has it now, or None if it does not exist."""
        resource = self._resource(kind)
        if kind in OWN_KINDS:  # they are listed and watched: no right to `get` one is needed
            query = {"fieldSelector": f"metadata.name={name}"}
            found = await self._requests.send("GET", resource.path(namespace), query=query)
            return next(iter(found["items"]), None)
        try:
            return await self._requests.send("GET", resource.path(namespace, name))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def create(self, wanted: Object) -> Object:
        """Create the object, or return the existing one if it has the same owner. Raises Blocked."""
        try:
            return await self._create(wanted["kind"], wanted)
        except ApiError as error:
            if error.status != 409:
                raise _told(wanted, error) from error
        existing = await self._ours(wanted)
        if existing is None:
            raise Leftover(f"{_place(wanted)} is just being deleted")
        return existing

    async def apply(self, wanted: Object, known: Object | None) -> Object:
        """Bring the object to the state `wanted` by server-side apply and return it. Raises Blocked or Changed.

        `known` is the object as the caller has seen it, with the same owner.
        """
        known = known or await self._ours(wanted)
        body = wanted if known is None else _planned_from(known, wanted)
        metadata = wanted["metadata"]
        path = self._resource(wanted["kind"]).path(metadata["namespace"], metadata["name"])
        try:
            return await self._requests.send("PATCH", path, body, {**MANAGER, "force": "true"}, APPLY)
        except ApiError as error:
            if error.status == 409:
                raise Changed(wanted["kind"], metadata["namespace"], metadata["name"]) from error
            raise _told(wanted, error) from error

    async def record(self, wanted: Object) -> Object:
        """Add missing entries to a ConfigMap without an owner; existing entries stay. Raises Blocked or Changed."""
        metadata = wanted["metadata"]
        place = metadata["namespace"], metadata["name"]
        known = await self.get("ConfigMap", *place)
        try:
            if known is None:
                return await self._create("ConfigMap", wanted)
            if not labels.is_labelled(known):
                raise NameTaken(f"{_place(wanted)} belongs to something else")
            data = wanted["data"] | (known.get("data") or {})
            patch = {"metadata": {"resourceVersion": known["metadata"]["resourceVersion"]}, "data": data}
            return await self._requests.send("PATCH", self._resource("ConfigMap").path(*place), patch, MANAGER, MERGE)
        except ApiError as error:
            if error.status == 409:
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
            raise NameTaken(f"{_place(wanted)} {left}: a new one can be created only once it is deleted: {command}")
        if not labels.owned_by_namesake(existing, owner):
            raise NameTaken(f"{_place(wanted)} belongs to something else")
        if await self._uid_now(owner["kind"], metadata["namespace"], owner["name"]) == owner["uid"]:
            await self._delete_exactly(wanted["kind"], existing)
        raise Leftover(f"{_place(wanted)} of an earlier {owner['kind']} of that name is being deleted")

    async def _uid_now(self, kind: str, namespace: str, name: str) -> str | None:
        """Return an owner's uid as the server has it now, or None if it does not exist.

        The cache does not answer this: a replica that lags behind must not treat a newer owner's child as a leftover.
        """
        found = await self.get(kind, namespace, name)
        return None if found is None else str(found["metadata"]["uid"])

    async def _delete_exactly(self, kind: str, existing: Object) -> None:
        """Delete this object, with its dependents, but no other one that may have its name by now."""
        if "deletionTimestamp" not in existing["metadata"]:
            await self._delete(kind, existing, {"preconditions": {"uid": existing["metadata"]["uid"]}})

    async def delete(self, child: Object, *, force: bool = False) -> None:
        """Delete a child as it was seen, or do nothing if it no longer exists. Raises Changed.

        With `force`, do not wait for a node that may never respond again.
        """
        metadata = child["metadata"]
        seen = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
        options: dict[str, Any] = {"preconditions": seen} | ({"gracePeriodSeconds": 0} if force else {})
        if await self._delete(child["kind"], child, options) == 409:
            raise Changed(child["kind"], metadata["namespace"], metadata["name"])

    async def _delete(self, kind: str, existing: Object, options: dict[str, Any]) -> int:
        """Delete the object and return the HTTP status: 200, or 404 or 409 for the caller to handle."""
        metadata = existing["metadata"]
        path = self._resource(kind).path(metadata["namespace"], metadata["name"])
        try:
            await self._requests.send("DELETE", path, {"propagationPolicy": "Background", **options})
        except Refused as refused:
            if refused.status not in (404, 409):
                raise
            return refused.status
        return 200

    async def write_status(self, owner: Object, change: Object) -> Object | None:
        """Merge `change` into the status and return the object; None if it no longer exists. Raises Changed.

        A list is replaced as a whole, so it must come from the same version of the object as the rest.
        """
        metadata = owner["metadata"]
        seen = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
        path = self._resource(owner["kind"]).path(metadata["namespace"], metadata["name"], "status")
        try:
            return await self._requests.send("PATCH", path, {"metadata": seen, "status": change}, MANAGER, MERGE)
        except ApiError as error:
            if error.status == 404:
                return None
            if error.status == 409:
                raise Changed(owner["kind"], metadata["namespace"], metadata["name"]) from error
            raise

    async def tell(self, owner: Object, event: Event) -> None:
        """Post an event about `owner`. Its name follows from its key, so posting it twice makes one event.

        An event that the server rejects, for example because its namespace is being deleted, is logged and dropped: the
        server would reject it again.
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
            await self._create("Event", body)
        except ApiError as error:
            if error.status in REJECTIONS:
                place = owner["kind"], metadata["namespace"], metadata["name"]
                extra = about(*place, metadata["uid"])
                logger.warning("%s %s/%s: event %s: %s", *place, event.reason, error, extra=extra)
            elif error.status != 409:
                raise

    async def get_lease(self, namespace: str, name: str) -> Object | None:
        """Return the Lease with its resourceVersion, or None if it does not exist."""
        return await self.get("Lease", namespace, name)

    async def put_lease(self, lease: Object) -> bool:
        """Create or replace the Lease; return False if another client changed it first."""
        resource, metadata = self._resource("Lease"), lease["metadata"]
        try:
            if "resourceVersion" in metadata:
                path = resource.path(metadata["namespace"], metadata["name"])
                await self._requests.send("PUT", path, resource.typed(lease), MANAGER)
            else:
                await self._create("Lease", lease)
        except ApiError as error:
            if error.status == 409:
                return False
            raise
        return True

    async def _create(self, kind: str, body: Object) -> Object:
        resource = self._resource(kind)
        return await self._requests.send(
            "POST", resource.path(body["metadata"]["namespace"]), resource.typed(body), MANAGER
        )

    def _resource(self, kind: str) -> Resource:
        """Return the resource of a kind. Raises KeyError if the cluster does not serve it."""
        if kind not in APIS:
            return RESOURCES[kind]
        version = self.discovery.version(kind)
        if version is None:
            raise KeyError(f"{APIS[kind].named()}: not served")
        return Resource(APIS[kind].group, version, kind, APIS[kind].plural)

    async def _served(self, group: str, version: str) -> set[str]:
        try:
            found = await self._requests.send("GET", f"/apis/{group}/{version}")
        except Refused as refused:
            if refused.status == 404:
                return set()
            raise
        return {str(resource["name"]) for resource in found["resources"]}

    async def close(self) -> None:
        """Close the connections."""
        await self._requests.close()


def _planned_from(known: Object, wanted: Object) -> Object:
    """Return `wanted` with the resourceVersion of `known`, so that it is applied only if that object is unchanged."""
    return wanted | {"metadata": wanted["metadata"] | {"resourceVersion": known["metadata"]["resourceVersion"]}}


def _told(wanted: Object, error: ApiError) -> Exception:
    """Return Rejected, with a message for users, if the server rejected the child itself; otherwise `error`."""
    if error.status not in REJECTIONS:
        return error
    return Rejected(f"{_place(wanted)}: {error.message}")


def _place(wanted: Object) -> str:
    return f"{wanted['kind']} {wanted['metadata']['namespace']}/{wanted['metadata']['name']}"
