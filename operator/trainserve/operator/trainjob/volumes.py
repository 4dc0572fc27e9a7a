"""Volumes of a training pod, their mounts, and the paths in them.

A claim becomes one volume even if it is named several times, since a kubelet waits forever for a second volume of the
same claim (kubernetes/kubernetes#132921).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from trainserve.api.pod import PodPath
from trainserve.api.scalars import quantity
from trainserve.operator.store import StoreRoot

RUNTIMES_OWN = 64 * 2**20
"""Bytes of shared memory that container runtimes provide: too few for NCCL or DataLoader's workers."""
CLAIM, CONFIG_MAP = "pvc://", "configmap://"


def path_of(name: str, address: str) -> str:
    """Return the path of an address that a pod mounts as volume `name`; return any other address unchanged."""
    if not address.startswith((CLAIM, CONFIG_MAP)):
        return address
    _, _, path = address.partition("://")[2].partition("/")
    return f"{PodPath.MOUNTS}/{name}/{path}"


@dataclass
class Volumes:
    """The `volumes` of a pod and the `mounts` of its container, collected step by step."""

    volumes: list[dict[str, Any]] = field(default_factory=list)
    mounts: list[dict[str, Any]] = field(default_factory=list)
    _claims: dict[str, str] = field(default_factory=dict)

    def scratch(self, name: str, path: str, **empty_dir: str) -> None:
        """Add an `emptyDir` at `path`."""
        self._add({"name": name, "emptyDir": empty_dir}, {"mountPath": path})

    def shared_memory(self, memory: str | None) -> None:
        """Add /dev/shm with a quarter of the container's memory limit, against which it counts; without a limit, with
        no size limit of its own."""
        size = {} if memory is None else {"sizeLimit": str(max(RUNTIMES_OWN, int(quantity.memory(memory)) // 4))}
        self.scratch("shm", PodPath.SHARED_MEMORY, medium="Memory", **size)

    def store(self, store: StoreRoot, namespace: str) -> None:
        """Add the namespace's folder of the model store, writable."""
        self.volumes += store.volumes()
        self.mounts += store.mounts(namespace, read_only=False)
        for volume in store.volumes():
            if claim := volume.get("persistentVolumeClaim"):
                self._claims[claim["claimName"]] = volume["name"]

    def config_map(self, name: str, config_map: str, path: str) -> None:
        """Add the entries of a ConfigMap as read-only files."""
        self._add({"name": name, "configMap": {"name": config_map}}, {"mountPath": path, "readOnly": True})

    def readable(self, name: str, address: str) -> None:
        """Add the volume of a `pvc://<claim>/<path>` or `configmap://<name>/<file>`, read-only at `path_of`."""
        source, _, _ = address.partition("://")[2].partition("/")
        if address.startswith(CONFIG_MAP):
            self.config_map(name, source, f"{PodPath.MOUNTS}/{name}")
        elif address.startswith(CLAIM):
            self._claim(name, source, f"{PodPath.MOUNTS}/{name}")

    def _claim(self, name: str, claim: str, path: str) -> None:
        mount = {"mountPath": path, "readOnly": True}
        if claim in self._claims:
            self.mounts.append({"name": self._claims[claim], **mount})
        else:
            self._claims[claim] = name
            self._add({"name": name, "persistentVolumeClaim": {"claimName": claim, "readOnly": True}}, mount)

    def _add(self, volume: dict[str, Any], mount: dict[str, Any]) -> None:
        self.volumes.append(volume)
        self.mounts.append({"name": volume["name"], **mount})
