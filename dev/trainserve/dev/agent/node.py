"""The Node object: resources of this machine, heartbeats, and the address of its kubelet port."""

import asyncio
import logging
import os
import platform
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import aiohttp

from trainserve.dev.agent import gpus
from trainserve.dev.agent.client import Client, Refused
from trainserve.dev.agent.processes import boot_id
from trainserve.dev.agent.status import timestamp

Object = dict[str, Any]

MAX_PODS = 1100
LEASE_SECONDS = 40
RENEW_SECONDS = 10
NODE_IP = "127.0.0.1"
RUNTIME = f"process://{version('trainserve')}"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Machine:
    """A machine's resources: CPU cores, memory and disk in bytes, GPUs."""

    cpus: int
    memory: int
    disk: int
    gpus: gpus.Gpus

    @classmethod
    def observe(cls, directory: Path, simulated_gpus: int) -> "Machine":
        """Return the resources of this machine; `disk` is the size of the file system that holds `directory`."""
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        cpus = len(os.sched_getaffinity(0))
        return cls(cpus, memory, shutil.disk_usage(directory).total, gpus.discover(simulated_gpus))

    def allocatable(self) -> dict[str, str]:
        """Return the resources by name, as Kubernetes quantities."""
        resources = {
            "cpu": str(self.cpus),
            "memory": f"{self.memory // 1024}Ki",
            "ephemeral-storage": f"{self.disk // 1024}Ki",
            "pods": str(MAX_PODS),
        }
        return resources | ({gpus.RESOURCE: str(len(self.gpus.ids))} if self.gpus.ids else {})


def node_object(name: str, machine: Machine, version: str, kubelet_port: int) -> Object:
    """Return the Node without its conditions. `version` is the API server's, reported as the kubelet's version."""
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    labels = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": architecture,
        **machine.gpus.labels(),
    }
    resources = machine.allocatable()
    status = {
        "capacity": resources,
        "allocatable": resources,
        "addresses": [{"type": "InternalIP", "address": NODE_IP}, {"type": "Hostname", "address": name}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": kubelet_port}},
        "nodeInfo": {
            "machineID": "",
            "systemUUID": "",
            "bootID": boot_id(),
            "kernelVersion": platform.release(),
            "osImage": platform.freedesktop_os_release().get("PRETTY_NAME", "Linux"),
            "containerRuntimeVersion": RUNTIME,
            "kubeletVersion": version,
            "kubeProxyVersion": version,
            "operatingSystem": "linux",
            "architecture": architecture,
        },
    }
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}, "status": status}


def conditions(known: list[Mapping[str, Any]], now: float) -> list[Object]:
    """Return a healthy kubelet's conditions at the Unix time `now`; unchanged ones keep their transition time."""
    wanted = {
        "MemoryPressure": ("False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        "DiskPressure": ("False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        "PIDPressure": ("False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        "Ready": ("True", "KubeletReady", "the agent runs pods as processes"),
    }
    since = {
        each["type"]: each["lastTransitionTime"]
        for each in known
        if each["status"] == wanted.get(each["type"], ("",))[0]
    }
    return [
        {
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message,
            "lastHeartbeatTime": timestamp(now),
            "lastTransitionTime": since.get(kind, timestamp(now)),
        }
        for kind, (status, reason, message) in wanted.items()
    ]


async def register(client: Client, node: Object) -> None:
    """Create the Node, or update that of an earlier agent process. Raises Refused, aiohttp.ClientError."""
    path = f"/api/v1/nodes/{node['metadata']['name']}"
    try:
        known = await client.get(path)
    except Refused as error:
        if error.status != 404:
            raise
        node["status"]["conditions"] = conditions([], time.time())
        await client.create("/api/v1/nodes", node)
        return
    # Labels of GPUs that no longer exist must be removed, too.
    ours = [
        label
        for label in known["metadata"].get("labels", {})
        if label.startswith(("nvidia.com/", gpus.SIMULATED_LABEL))
    ]
    labels = dict.fromkeys(ours) | node["metadata"]["labels"]
    await client.patch(path, {"metadata": {"labels": labels}})
    gone = {key: None for key in known["status"].get("capacity", {}) if key not in node["status"]["capacity"]}
    status = node["status"] | {
        "capacity": gone | node["status"]["capacity"],
        "allocatable": gone | node["status"]["allocatable"],
        "conditions": conditions(known["status"].get("conditions", []), time.time()),
    }
    await client.patch(f"{path}/status", {"status": status})


async def heartbeat(client: Client, name: str) -> None:
    """Renew the node's Lease every 10 s, and report Ready again if an outage had marked the node as lost."""
    collection = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
    while True:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {"holderIdentity": name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": now}
        try:
            try:
                await client.patch(f"{collection}/{name}", {"spec": spec})
            except Refused as error:
                if error.status != 404:
                    raise
                await client.create(collection, {"metadata": {"name": name}, "spec": spec})
            await _stay_ready(client, name)
        except (Refused, aiohttp.ClientError, TimeoutError, OSError) as error:
            logger.warning("node lease: %s", error)
            await asyncio.sleep(1)
            continue
        await asyncio.sleep(RENEW_SECONDS)


async def _stay_ready(client: Client, name: str) -> None:
    path = f"/api/v1/nodes/{name}"
    known = (await client.get(path))["status"].get("conditions", [])
    if not any(each["type"] == "Ready" and each["status"] == "True" for each in known):
        await client.patch(f"{path}/status", {"status": {"conditions": conditions(known, time.time())}})
