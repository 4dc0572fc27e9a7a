"""The node's GPUs, as NVML reports them or else simulated, and their assignment to pods."""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pynvml  # type: ignore[import-untyped]

RESOURCE = "nvidia.com/gpu"
SIMULATED_LABEL = "trainserve.io/gpu-simulated"
# Label values that GPU feature discovery sets on a node with this GPU (memory in MiB).
SIMULATED_PRODUCT, SIMULATED_MEMORY_MIB, SIMULATED_CAPABILITY = "NVIDIA-H200", 143771, (9, 0)


class OutOfGpus(Exception):
    """A pod asks for more GPUs than are free on this node."""


@dataclass(frozen=True)
class Gpus:
    """GPUs of one product: their ids for CUDA_VISIBLE_DEVICES, memory in MiB, compute capability."""

    ids: Sequence[str]
    product: str
    memory_mib: int
    capability: tuple[int, int]
    simulated: bool

    def labels(self) -> dict[str, str]:
        """Return node labels as GPU feature discovery sets them, and a label that marks simulated GPUs."""
        if not self.ids:
            return {}
        labels = {
            "nvidia.com/gpu.present": "true",
            "nvidia.com/gpu.count": str(len(self.ids)),
            "nvidia.com/gpu.product": self.product,
            "nvidia.com/gpu.memory": str(self.memory_mib),
            "nvidia.com/gpu.compute.major": str(self.capability[0]),
            "nvidia.com/gpu.compute.minor": str(self.capability[1]),
            "nvidia.com/mig.capable": "false",
        }
        return labels | ({SIMULATED_LABEL: "true"} if self.simulated else {})


def discover(simulated: int) -> Gpus:
    """Return the machine's GPUs, read through NVML; if it has none, `simulated` simulated ones."""
    with contextlib.suppress(pynvml.NVMLError):
        pynvml.nvmlInit()
        try:
            handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
            if handles:
                first = handles[0]
                return Gpus(
                    ids=[pynvml.nvmlDeviceGetUUID(handle) for handle in handles],
                    product=pynvml.nvmlDeviceGetName(first).replace(" ", "-"),
                    memory_mib=pynvml.nvmlDeviceGetMemoryInfo(first).total // (1 << 20),
                    capability=tuple(pynvml.nvmlDeviceGetCudaComputeCapability(first)),
                    simulated=False,
                )
        finally:
            pynvml.nvmlShutdown()
    ids = [str(index) for index in range(simulated)]
    return Gpus(ids, SIMULATED_PRODUCT, SIMULATED_MEMORY_MIB, SIMULATED_CAPABILITY, simulated=True)


class Allocator:
    """Assignment of GPUs to pods, by uid; a GPU belongs to one pod at a time."""

    def __init__(self, ids: Iterable[str]) -> None:
        self._free = list(ids)
        self._held: dict[str, list[str]] = {}

    def restore(self, uid: str, devices: Sequence[str]) -> None:
        """Reassign to a pod the GPUs that an earlier agent process assigned to it."""
        self._held[uid] = [device for device in devices if device in self._free]
        self._free = [device for device in self._free if device not in devices]

    def allocate(self, uid: str, count: int) -> list[str]:
        """Assign `count` GPUs to the pod and return their ids; a repeated call returns the same. Raises OutOfGpus."""
        if uid not in self._held:
            if count > len(self._free):
                raise OutOfGpus(
                    f"Node didn't have enough resource: {RESOURCE}, requested: {count}, available: {len(self._free)}"
                )
            self._held[uid], self._free = self._free[:count], self._free[count:]
        return self._held[uid]

    def release(self, uid: str) -> None:
        """Free the pod's GPUs."""
        self._free += self._held.pop(uid, [])


def requested(container: Mapping[str, Any]) -> int:
    """Return the number of GPUs in a container's limits."""
    return int((container.get("resources") or {}).get("limits", {}).get(RESOURCE, 0))


def shares(pod: Mapping[str, Any], devices: Sequence[str]) -> dict[str, list[str]]:
    """Return each container's GPUs: distinct for containers that run together, shared by init containers."""
    parts = {each["name"]: list(devices[: requested(each)]) for each in pod["spec"].get("initContainers", ())}
    taken = 0
    for each in pod["spec"]["containers"]:
        parts[each["name"]] = list(devices[taken : taken + requested(each)])
        taken += requested(each)
    return parts


def needed(pod: Mapping[str, Any]) -> int:
    """Return the number of GPUs a pod holds: the sum over its containers, or the maximum of an init container."""
    together = sum(map(requested, pod["spec"]["containers"]))
    return max([together, *map(requested, pod["spec"].get("initContainers", ()))])
