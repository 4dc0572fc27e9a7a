"""The agent: watches Services and the Pods bound to its node, and runs one worker per Pod."""

import asyncio
import logging
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from trainserve.dev.agent import node, processes
from trainserve.dev.agent.client import Client
from trainserve.dev.agent.host import Host, cancel
from trainserve.dev.agent.leftovers import remove_pod_folders
from trainserve.dev.agent.pod import PodWorker
from trainserve.dev.agent.proxy import Proxy
from trainserve.dev.agent.records import Attempt, PodFolder
from trainserve.dev.agent.status import is_terminal

Object = dict[str, Any]

# Minimum interval between rewrites of the hosts files; longer where a rewrite is slow, to use less than 0.1 cores.
NAMES_SECONDS = 0.05

logger = logging.getLogger(__name__)


class Agent:
    """Runs the pods, the Service proxy and the heartbeat of the node `host`, while `run` runs."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._client: Client = host.client
        self._workers: dict[str, PodWorker] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._restore()
        self._services_known = asyncio.Event()
        self._services_changed = asyncio.Event()
        server = urlsplit(self._client.server)
        assert server.hostname is not None
        self._proxy = Proxy(self.pods, (server.hostname, server.port or 443))

    def pods(self) -> list[tuple[Object, str]]:
        """The node's pods that have not ended, with their addresses."""
        return [(worker.pod, worker.ip) for worker in self._workers.values() if not is_terminal(worker.pod)]

    def worker(self, namespace: str, name: str) -> PodWorker | None:
        """Return the worker of a pod by name; the newer one if two pods have that name."""
        found = [each for each in self._workers.values() if each.name == f"{namespace}/{name}"]
        return found[-1] if found else None

    def find_log(self, namespace: str, name: str, container: str, previous: bool) -> Attempt:
        """Return the attempt whose log was requested. Raises LookupError."""
        worker = self.worker(namespace, name)
        if worker is None:
            raise LookupError(f'pod "{name}" in namespace "{namespace}" is not on this node')
        if container not in worker.containers:
            raise LookupError(f'container "{container}" in pod "{name}" is not available')
        attempts = [each for each in worker.folder.attempts(container) if each.log.exists()]
        current = worker.containers[container].attempt
        if previous:
            attempts = [each for each in attempts if current and each.number < current.number]
        if attempts:
            return attempts[-1]
        if previous:
            raise LookupError(f'previous terminated container "{container}" in pod "{name}" not found')
        raise LookupError(f'container "{container}" in pod "{name}" is waiting to start')

    async def run(self) -> None:
        """Run until cancelled. Processes of pods keep running after that."""
        parts: list[Coroutine[Any, Any, None]] = [
            self._host.runtime.run(),
            self._host.logs.run(),
            self._follow_services(),
            self._follow_pods(),
            self._serve_services(),
            self._spread_names(),
            node.heartbeat(self._client, self._host.name),
        ]
        tasks = [asyncio.create_task(part) for part in parts]
        try:
            await asyncio.gather(*tasks)
        finally:
            await cancel([*tasks, *self._tasks.values()])

    async def _follow_pods(self) -> None:
        await self._services_known.wait()
        selector = {"fieldSelector": f"spec.nodeName={self._host.name}"}
        async for kind, item in self._client.watch("/api/v1/pods", **selector):
            if kind == "SYNCED":
                await self._forget_unlisted({pod["metadata"]["uid"] for pod in item["items"]})
                continue
            uid = item["metadata"]["uid"]
            if kind == "DELETED":
                if worker := self._workers.get(uid):
                    worker.update(item)
                    worker.gone()
            elif worker := self._workers.get(uid):
                worker.update(item)
            else:
                self._begin(item)
            if item["spec"].get("hostname") or kind == "DELETED":
                self._host.names_changed.set()

    def _restore(self) -> None:
        """Reserve addresses and GPUs held by pods of an earlier agent process, before any new pod is admitted."""
        for path in (self._host.directory / "pods").iterdir():
            record = PodFolder(path).load()
            if record.get("ip"):
                self._host.addresses.restore(record["ip"])
            if record.get("devices"):
                self._host.gpus.restore(path.name, record["devices"])

    def _begin(self, pod: Object) -> None:
        worker = PodWorker(self._host, pod, self.pods)
        self._workers[worker.uid] = worker
        self._tasks[worker.uid] = asyncio.create_task(self._work(worker))

    async def _work(self, worker: PodWorker) -> None:
        await worker.run()
        del self._workers[worker.uid], self._tasks[worker.uid]
        self._host.forget(worker.uid)
        await asyncio.to_thread(remove_pod_folders, worker.folder.path)

    async def _forget_unlisted(self, listed: set[str]) -> None:
        """End pods whose objects were deleted while the watch was interrupted or before this agent started."""
        for uid, worker in self._workers.items():
            if uid not in listed:
                worker.gone()
        folder = self._host.directory / "pods"
        for path in folder.iterdir():
            if path.name not in listed and path.name not in self._workers:
                record = PodFolder(path).load()
                await asyncio.to_thread(self._remove_orphan, path)
                self._host.addresses.release(record.get("ip", ""))
                self._host.gpus.release(path.name)

    def _remove_orphan(self, path: Path) -> None:
        count = processes.kill_using(path)
        logger.info("pod folder %s has no Pod: killed %d processes", path.name, count)
        for attempt in path.glob("containers/*/*"):
            self._host.cgroups.remove("-".join([path.name, attempt.parent.name, attempt.name]))
        remove_pod_folders(path)

    async def _follow_services(self) -> None:
        services = self._host.services
        async for kind, item in self._client.watch("/api/v1/services"):
            if kind == "SYNCED":
                listed = {(each["metadata"]["namespace"], each["metadata"]["name"]) for each in item["items"]}
                for key in services.keys() - listed:
                    del services[key]
                self._services_known.set()
            else:
                key = (item["metadata"]["namespace"], item["metadata"]["name"])
                if kind == "DELETED":
                    services.pop(key, None)
                else:
                    services[key] = item
            self._services_changed.set()
            self._host.names_changed.set()

    async def _serve_services(self) -> None:
        while True:
            await self._services_changed.wait()
            self._services_changed.clear()
            try:
                await self._proxy.update(self._host.services.values())
            except OSError as error:
                logger.warning("services: %s", error)
                await asyncio.sleep(1)
                self._services_changed.set()

    async def _spread_names(self) -> None:
        while True:
            await self._host.names_changed.wait()
            await asyncio.sleep(max(NAMES_SECONDS, 10 * self._host.hosts.cost_seconds))
            self._host.names_changed.clear()
            began = time.monotonic()
            self._host.hosts.update(list(self._host.services.values()), self.pods())
            logger.debug("names: %.1f ms", 1000 * (time.monotonic() - began))
