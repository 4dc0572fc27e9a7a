"""One pod on the node, from the moment it is bound until its object is deleted.

This module holds the sequence; the modules status, restart, probes, volumes and environment hold the decisions.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

import aiohttp

from trainserve.api.pod import PodPath
from trainserve.api.scalars import quantity
from trainserve.dev.agent import environment, gpus
from trainserve.dev.agent.cgroups import Limits
from trainserve.dev.agent.client import Refused
from trainserve.dev.agent.container import RETRY_SECONDS, ContainerWorker
from trainserve.dev.agent.gpus import OutOfGpus
from trainserve.dev.agent.host import Host, cancel, first_of
from trainserve.dev.agent.hosts import hostname, service_lines
from trainserve.dev.agent.records import Attempt, PodFolder
from trainserve.dev.agent.restart import init_policy
from trainserve.dev.agent.runtime import Process
from trainserve.dev.agent.sandbox import Mount
from trainserve.dev.agent.status import PodFacts, is_terminal, pod_status, status_conditions
from trainserve.dev.agent.volumes import VolumeError, VolumeMaker, Volumes, container_mounts, uncovered

Object = dict[str, Any]

# Long enough to report a command that ends at once only once, too short for users to notice.
REPORT_DELAY_SECONDS = 0.01
# Delay before a pod reports that it has not started: most pods start sooner, which saves a status write.
PATIENCE_SECONDS = 0.2

logger = logging.getLogger(__name__)


class PodWorker:
    """Runs a pod. `peers` returns the pods of the node with their addresses, for name resolution."""

    def __init__(self, host: Host, pod: Object, peers: Callable[[], list[tuple[Object, str]]]) -> None:
        self.pod = pod
        self.uid: str = pod["metadata"]["uid"]
        self.folder = PodFolder(host.directory / "pods" / self.uid)
        self.containers: dict[str, ContainerWorker] = {}
        self._host = host
        self._peers = peers
        self._failure: tuple[str, str] | None = None
        self._devices: dict[str, list[str]] = {}
        self._volumes: Volumes | None = None
        self._dirty = asyncio.Event()
        self._deleted = asyncio.Event()
        self._gone = asyncio.Event()
        self._writing = asyncio.Lock()
        self._written: Object | None = None
        self._load()
        self.update(pod)

    @property
    def name(self) -> str:
        """The pod as `namespace/name`."""
        return f"{self.pod['metadata']['namespace']}/{self.pod['metadata']['name']}"

    def update(self, pod: Object) -> None:
        """Adopt a newer version of the Pod."""
        if int(pod["metadata"]["resourceVersion"]) >= int(self.pod["metadata"]["resourceVersion"]):
            self.pod = pod
            if self._written is not None and status_conditions(pod) != status_conditions({"status": self._written}):
                # The node controller marks all pods of an unresponsive node as not ready. They stay so after the node
                # is back, until the node itself writes their status again, as a kubelet does.
                self._written = None
                self._dirty.set()
        if pod["metadata"].get("deletionTimestamp"):
            self._deleted.set()

    def gone(self) -> None:
        """End the pod, because its object no longer exists."""
        self._gone.set()
        self._deleted.set()

    async def run(self) -> None:
        """Run the pod. Returns once its object is deleted and all its processes have ended."""
        if not is_terminal(self.pod):
            reporter = asyncio.create_task(self._report())
            try:
                await self._run_to_end()
            finally:
                await cancel([reporter])
        else:
            self._release()
        await self._deleted.wait()
        await self._delete_object()

    def _load(self) -> None:
        """Take over the pod from an earlier agent process, or begin a new one."""
        metadata, spec = self.pod["metadata"], self.pod["spec"]
        record = self.folder.load()
        known_ip = self.pod.get("status", {}).get("podIP", "")
        self.start_time: float = record.get("startTime", time.time())
        # Empty once the pod has ended, because its address may then belong to another pod.
        held = record.get("ip") or ("" if is_terminal(self.pod) else self._take_address(known_ip))
        self.ip: str = held or known_ip
        self._record = record | {
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "ip": held,
            "startTime": self.start_time,
        }
        status = self.pod.get("status", {})
        known = {
            each["name"]: each
            for each in [*status.get("containerStatuses", ()), *status.get("initContainerStatuses", ())]
        }
        for each in [*spec.get("initContainers", ()), *spec["containers"]]:
            worker = ContainerWorker(
                self._host,
                self.pod,
                each,
                self.folder,
                pod_ip=self.ip,
                configure=self._configure,
                changed=self._dirty.set,
            )
            self.containers[each["name"]] = worker
            if record:
                worker.restore(known.get(each["name"]))

    def _take_address(self, known: str) -> str:
        return self._host.ip if self.pod["spec"].get("hostNetwork") else self._host.addresses.take(known)

    async def _run_to_end(self) -> None:
        """Run the containers until they have ended for good or must be stopped; then write the pod's status."""
        life = asyncio.create_task(self._live())
        deleted = asyncio.create_task(self._deleted.wait())
        deadline = self.pod["spec"].get("activeDeadlineSeconds")
        left = None if deadline is None else max(0.0, self.start_time + deadline - time.time())
        try:
            await first_of(life, deleted, timeout=left)
            if not life.done():
                if not self._deleted.is_set():
                    self._failure = (
                        "DeadlineExceeded",
                        "Pod was active on the node longer than the specified deadline",
                    )
                await cancel([life])
                await self._stop()
            else:
                life.result()
        except OutOfGpus as error:
            self._failure = (f"OutOf{gpus.RESOURCE}", f"Pod {error}")
        except Exception as error:
            # A pod that the agent cannot handle fails and can be deleted; other pods are not affected.
            logger.exception("pod %s", self.name)
            self._failure = ("NodeError", f"the node could not run the pod: {error}")
            await self._stop()
        finally:
            await cancel([life, deleted])
        self._release()
        await self._write_status()

    async def _live(self) -> None:
        spec = self.pod["spec"]
        if count := gpus.needed(self.pod):
            devices = self._host.gpus.allocate(self.uid, count)
            self._devices = gpus.shares(self.pod, devices)
            self._record["devices"] = devices
        self.folder.save(self._record)
        asyncio.get_running_loop().call_later(PATIENCE_SECONDS, self._dirty.set)
        self._volumes = await self._prepare_volumes()
        self._host.names_changed.set()
        namespace = self.pod["metadata"]["namespace"]
        shared = service_lines(self._host.services.values(), self._peers(), namespace)
        self._host.hosts.add(self.folder.hosts, self.pod, self.ip, shared)
        renewal = asyncio.create_task(self._renew_tokens())
        policy = spec.get("restartPolicy", "Always")
        try:
            for each in spec.get("initContainers", ()):
                if (await self.containers[each["name"]].keep(init_policy(policy))).exit_code != 0:
                    return
            async with asyncio.TaskGroup() as together:
                for each in spec["containers"]:
                    together.create_task(self.containers[each["name"]].keep(policy))
        finally:
            await cancel([renewal])

    async def _stop(self) -> None:
        metadata, spec = self.pod["metadata"], self.pod["spec"]
        grace = metadata.get("deletionGracePeriodSeconds", spec.get("terminationGracePeriodSeconds", 30))
        await asyncio.gather(*(worker.stop(float(grace), self._gone) for worker in self.containers.values()))

    def _release(self) -> None:
        """Free the address, GPUs and hosts file that a pod holds only while it runs. Idempotent."""
        if self._record["ip"]:
            self._record["ip"] = ""
            self.folder.save(self._record)
            self._host.addresses.release(self.ip)
        self._host.names_changed.set()
        self._host.gpus.release(self.uid)
        self._host.hosts.remove(self.uid)

    async def _prepare_volumes(self) -> Volumes:
        tries = 0
        while True:
            try:
                return await self._volume_maker().prepare(self._facts(), self.folder.volume)
            except (VolumeError, Refused, aiohttp.ClientError, TimeoutError) as error:
                self._host.warn(self.pod, "FailedMount", str(error))
            await asyncio.sleep(RETRY_SECONDS[min(tries, len(RETRY_SECONDS) - 1)])
            tries += 1

    async def _renew_tokens(self) -> None:
        assert self._volumes is not None
        renew_at = self._volumes.renew_at
        while renew_at is not None:
            await asyncio.sleep(max(1.0, renew_at - time.time()))
            try:
                renew_at = await self._volume_maker().renew(self._facts(), self.folder.volume)
            except (VolumeError, Refused, aiohttp.ClientError, TimeoutError) as error:
                logger.warning("pod %s: service account token: %s", self.name, error)

    def _volume_maker(self) -> VolumeMaker:
        async def volume(name: str) -> Object:
            return await self._host.client.get(f"/api/v1/persistentvolumes/{name}")

        return VolumeMaker(self._fetch, volume, self._host.request_token)

    async def _configure(self, container: Object, attempt: Attempt) -> Process:
        """Return the process of a container's attempt, configured from the API server's current objects."""
        facts, name = self._facts(), hostname(self.pod)
        env = await environment.environment(container, facts, self._host.base_environment(name), self._fetch)
        # Last, so that no manifest can reach another pod's devices.
        env["CUDA_VISIBLE_DEVICES"] = ",".join(self._devices.get(container["name"], []))
        argv = environment.expand_command(container, env)
        if self._volumes is None:
            self._volumes = await self._volume_maker().prepare(facts, self.folder.volume)
        message_path = container.get("terminationMessagePath", PodPath.TERMINATION_LOG)
        mounts = [
            Mount(source=str(self.folder.hosts), target="/etc/hosts", readOnly=False),
            *container_mounts(container, self._volumes, env),
            Mount(source=str(attempt.termination), target=message_path, readOnly=False),
        ]
        mounts += uncovered(mounts, self._host.image_folders)
        groups = self._host.cgroups.create(attempt.group, limits(container))
        read_only = bool(container.get("securityContext", {}).get("readOnlyRootFilesystem"))
        return Process(argv, env, container.get("workingDir") or "/", name, mounts, groups, read_only)

    def _facts(self) -> environment.PodFacts:
        return environment.PodFacts(self.pod, self.ip, self._host.ip, self._host.allocatable)

    async def _fetch(self, plural: str, name: str) -> Object | None:
        return await self._host.fetch(self.pod["metadata"]["namespace"], plural, name)

    def _status(self) -> Object:
        spec = self.pod["spec"]
        facts = PodFacts(
            pod=self.pod,
            init_containers=[self.containers[each["name"]].record for each in spec.get("initContainers", ())],
            containers=[self.containers[each["name"]].record for each in spec["containers"]],
            host_ip=self._host.ip,
            pod_ip=self.ip,
            start_time=self.start_time,
            now=time.time(),
            failure=self._failure,
        )
        return pod_status(facts)

    async def _report(self) -> None:
        while True:
            await self._dirty.wait()
            await asyncio.sleep(REPORT_DELAY_SECONDS)
            self._dirty.clear()
            await self._write_status()

    async def _write_status(self) -> None:
        """Write the Pod's status, with retries until it is written or the Pod is deleted."""
        metadata = self.pod["metadata"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        async with self._writing:
            tries = 0
            while not self._gone.is_set():
                status = self._status()
                if status == self._written:
                    return
                try:
                    answer = await self._host.client.patch(
                        f"{path}/status", {"metadata": {"uid": self.uid}, "status": status}
                    )
                except Refused as error:
                    if error.status in (404, 409):
                        return
                    logger.warning("pod %s: status: %s", self.name, error)
                except (aiohttp.ClientError, TimeoutError, OSError) as error:
                    logger.warning("pod %s: status: %s", self.name, error)
                else:
                    self._written = status
                    self.update(answer)
                    return
                await asyncio.sleep(RETRY_SECONDS[min(tries, len(RETRY_SECONDS) - 1)])
                tries += 1

    async def _delete_object(self) -> None:
        """Delete the Pod's object, after all its processes have ended."""
        metadata = self.pod["metadata"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        tries = 0
        while not self._gone.is_set():
            try:
                await self._host.client.delete(path, {"gracePeriodSeconds": 0, "preconditions": {"uid": self.uid}})
            except Refused as error:
                if error.status in (404, 409):
                    return
                logger.warning("pod %s: delete: %s", self.name, error)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                logger.warning("pod %s: delete: %s", self.name, error)
            else:
                return
            await asyncio.sleep(RETRY_SECONDS[min(tries, len(RETRY_SECONDS) - 1)])
            tries += 1


def limits(container: Object) -> Limits:
    """Return a container's limits of memory (bytes) and cpu (cores)."""
    declared = (container.get("resources") or {}).get("limits", {})
    memory, cpu = (quantity.value(declared[key]) if key in declared else None for key in ("memory", "cpu"))
    return Limits(None if memory is None else int(memory), None if cpu is None else float(cpu))
