"""Resources that all pods of the node share: API access, processes, names, devices, addresses."""

import asyncio
import contextlib
import ipaddress
import logging
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from trainserve.api.pod import Variable
from trainserve.dev.agent.cgroups import Cgroups
from trainserve.dev.agent.client import Client, Refused
from trainserve.dev.agent.environment import SYSTEM_PATH
from trainserve.dev.agent.gpus import Allocator
from trainserve.dev.agent.hosts import HostsFiles
from trainserve.dev.agent.logs import LogWatcher
from trainserve.dev.agent.runtime import Runtime
from trainserve.dev.agent.status import timestamp

Object = dict[str, Any]

logger = logging.getLogger(__name__)


class AddressPool:
    """Pod addresses from a loopback range, assigned round-robin."""

    def __init__(self, network: ipaddress.IPv4Network) -> None:
        self._network = network
        self._taken: set[str] = set()
        self._next = self._cycle()

    def take(self, wanted: str = "") -> str:
        """Return a free address: `wanted` if it is free. Raises RuntimeError when the range is used up."""
        if wanted and ipaddress.IPv4Address(wanted) in self._network and wanted not in self._taken:
            self._taken.add(wanted)
            return wanted
        for _ in range(self._network.num_addresses):
            if (address := next(self._next)) not in self._taken:
                self._taken.add(address)
                return address
        raise RuntimeError(f"no pod address is free in {self._network}")

    def restore(self, address: str) -> None:
        """Mark the address of a running pod as taken."""
        self._taken.add(address)

    def release(self, address: str) -> None:
        """Free an address."""
        self._taken.discard(address)

    def _cycle(self) -> Iterator[str]:
        while True:
            yield from map(str, self._network.hosts())


@dataclass
class Host:
    """Resources of the node that its pods' workers share."""

    name: str
    ip: str
    directory: Path
    client: Client
    runtime: Runtime
    cgroups: Cgroups
    gpus: Allocator
    addresses: AddressPool
    hosts: HostsFiles
    probes: aiohttp.ClientSession
    logs: LogWatcher
    allocatable: dict[str, str]
    path_prepend: Sequence[Path]
    simulated_gpus: bool = False
    services: dict[tuple[str, str], Object] = field(default_factory=dict)
    names_changed: asyncio.Event = field(default_factory=asyncio.Event)
    _told: set[tuple[str, str, str]] = field(default_factory=set)
    _telling: set[asyncio.Task[None]] = field(default_factory=set)

    def base_environment(self, hostname: str) -> dict[str, str]:
        """Return variables that an image would set, and those that point clients at the API server."""
        values = {
            "PATH": ":".join([*map(str, self.path_prepend), SYSTEM_PATH]),
            "HOME": "/root",
            "LANG": "C.UTF-8",
            "HOSTNAME": hostname,
            Variable.DEVELOPMENT_SERVER: "1",
        }
        if self.simulated_gpus:
            values[Variable.SIMULATED_GPUS] = "1"
        if kubernetes := self.services.get(("default", "kubernetes")):
            port = str(kubernetes["spec"]["ports"][0]["port"])
            values |= {
                "KUBERNETES_SERVICE_HOST": kubernetes["spec"]["clusterIP"],
                "KUBERNETES_SERVICE_PORT": port,
                "KUBERNETES_SERVICE_PORT_HTTPS": port,
            }
        return values

    @property
    def image_folders(self) -> set[Path]:
        """Folders of programs that a pod's image would contain, this checkout included."""
        checkout, python = Path(__file__).parents[4], Path(sys.base_prefix)
        return {checkout, python, *(folder.parent for folder in self.path_prepend)}

    async def fetch(self, namespace: str, plural: str, name: str) -> Object | None:
        """Return a namespaced object of the core group, or None if absent. Raises Refused, aiohttp.ClientError."""
        try:
            return await self.client.get(f"/api/v1/namespaces/{namespace}/{plural}/{name}")
        except Refused as error:
            if error.status == 404:
                return None
            raise

    async def request_token(self, pod: Object, projection: Object) -> str:
        """Return a token of the pod's service account, bound to the pod. Raises Refused, aiohttp.ClientError."""
        metadata, spec = pod["metadata"], pod["spec"]
        bound = {"kind": "Pod", "apiVersion": "v1", "name": metadata["name"], "uid": metadata["uid"]}
        request: Object = {"boundObjectRef": bound, "expirationSeconds": projection.get("expirationSeconds", 3600)}
        request["audiences"] = [projection["audience"]] if projection.get("audience") else []
        account = (
            f"/api/v1/namespaces/{metadata['namespace']}/serviceaccounts/{spec.get('serviceAccountName', 'default')}"
        )
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": request}
        token: str = (await self.client.create(f"{account}/token", body))["status"]["token"]
        return token

    def warn(self, pod: Object, reason: str, message: str) -> None:
        """Create a Warning Event on the pod, once per reason and message. A failure to create it is only logged."""
        key = (pod["metadata"]["uid"], reason, message)
        if key not in self._told:
            self._told.add(key)
            task = asyncio.create_task(self._tell(pod, reason, message))
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)

    def forget(self, uid: str) -> None:
        """Forget which events were created on a deleted pod."""
        self._told = {key for key in self._told if key[0] != uid}

    async def _tell(self, pod: Object, reason: str, message: str) -> None:
        metadata, now = pod["metadata"], timestamp(time.time())
        keys = ("name", "namespace", "uid", "resourceVersion")
        event = {
            "metadata": {"generateName": f"{metadata['name']}.", "namespace": metadata["namespace"]},
            "involvedObject": {"apiVersion": "v1", "kind": "Pod"} | {key: metadata[key] for key in keys},
            "reason": reason,
            "message": message[:1024],
            "type": "Warning",
            "source": {"component": "kubelet", "host": self.name},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        try:
            await self.client.create(f"/api/v1/namespaces/{metadata['namespace']}/events", event)
        except (Refused, aiohttp.ClientError, TimeoutError, OSError) as error:
            logger.info("event %s of pod %s: %s", reason, metadata["name"], error)


async def first_of(*awaitables: asyncio.Task[Any], timeout: float | None = None) -> None:  # noqa: ASYNC109 (running out is no error)
    """Wait until one of the tasks has ended, or for `timeout` seconds."""
    await asyncio.wait(awaitables, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)


async def cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks and wait until they have ended."""
    pending = [task for task in tasks if not task.done()]
    for task in pending:
        task.cancel()
    for task in pending:
        with contextlib.suppress(asyncio.CancelledError):
            await task
