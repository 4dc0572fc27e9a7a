"""Selection of the pods to ask for figures of TrainJobs and ModelServes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

Object = Mapping[str, Any]
Key = tuple[str, str]
"""Namespace and name."""

MANAGED = "app.kubernetes.io/managed-by=trainserve"
"""Label selector of the pods that the operator creates."""
TRAINJOB, RANK, ATTEMPT = "trainserve.io/trainjob", "trainserve.io/rank", "trainserve.io/attempt"
MODELSERVE, VERSION = "trainserve.io/modelserve", "trainserve.io/version"


@dataclass(frozen=True, order=True)
class Endpoint:
    """A port of a pod."""

    namespace: str
    pod: str
    port: int
    address: str

    @property
    def path(self) -> str:
        """Path of the API server's proxy to this port."""
        return f"/api/v1/namespaces/{quote(self.namespace, '')}/pods/{quote(self.pod, '')}:{self.port}/proxy"


def endpoint(pod: Object, port: int) -> Endpoint:
    """The endpoint of `port` on `pod`, which must have an IP address."""
    return Endpoint(*key(pod), port, str(pod["status"]["podIP"]))


def key(thing: Object) -> Key:
    """Namespace and name of an object."""
    return thing["metadata"]["namespace"], thing["metadata"]["name"]


def uid(thing: Object) -> str:
    """The uid of an object, which an earlier one of the same name does not have."""
    return str(thing["metadata"]["uid"])


def training(jobs: Iterable[Object], pods: Iterable[Object]) -> dict[Key, Object]:
    """Rank 0 of the newest attempt of each running TrainJob, but of those with a command of the user's own.

    Such a command need not report its progress.
    """
    running = {
        key(job): job
        for job in jobs
        if (job.get("status") or {}).get("phase") == "Running" and not (job["spec"].get("model") or {}).get("command")
    }
    found: dict[Key, Object] = {}
    for pod in pods:
        labels = _labels(pod)
        job = running.get((pod["metadata"]["namespace"], labels.get(TRAINJOB, "")))
        if job is None or labels.get(RANK) != "0" or not _owned(pod, job) or not _reachable(pod):
            continue
        if key(job) not in found or _attempt(pod) > _attempt(found[key(job)]):
            found[key(job)] = pod
    return found


def serving(serves: Iterable[Object], pods: Iterable[Object]) -> dict[Key, list[Object]]:
    """The pods of each ModelServe, of every version that still serves."""
    found: dict[Key, list[Object]] = {key(serve): [] for serve in serves}
    for pod in pods:
        labels = _labels(pod)
        whose = (pod["metadata"]["namespace"], labels.get(MODELSERVE, ""))
        if whose in found and VERSION in labels and _reachable(pod):
            found[whose].append(pod)
    return found


def _labels(pod: Object) -> Mapping[str, str]:
    return pod["metadata"].get("labels") or {}


def _owned(pod: Object, job: Object) -> bool:
    return any(owner.get("uid") == uid(job) for owner in pod["metadata"].get("ownerReferences") or [])


def _attempt(pod: Object) -> int:
    label = _labels(pod).get(ATTEMPT, "")
    return int(label) if label.isascii() and label.isdigit() else 0


def _reachable(pod: Object) -> bool:
    return bool((pod.get("status") or {}).get("podIP")) and not pod["metadata"].get("deletionTimestamp")
