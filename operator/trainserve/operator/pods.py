"""What training and serving pods share: placement and resources when building, failures when reading."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from trainserve.api import messages
from trainserve.api.base import PodTemplate, Resources
from trainserve.api.pod import PodPath, Variable
from trainserve.api.scalars import quantity
from trainserve.operator import said

GPU_PRODUCT = "nvidia.com/gpu.product"
GPU_MEMORY = "nvidia.com/gpu.memory"
"""Node labels as GPU feature discovery sets them; memory in MiB."""

USER = 65532
"""User and group of our images (images/*.Dockerfile)."""
TRITON_USER = 1000
"""NVIDIA's image runs as root unless told, and is made for this other user alone (triton-inference-server#2600)."""


def tmp() -> dict[str, str]:
    """The mount of the folder where every program may write, whose container's own root is read-only."""
    return {"name": "tmp", "mountPath": PodPath.TEMPORARY}


def hardened(user: int = USER, template: PodTemplate | None = None) -> dict[str, Any]:
    """A container's `securityContext`, as the Pod Security Standards' profile `restricted` wants it, and it writes to
    nothing but its volumes. An image of somebody else's, whose own user may be root, runs as ours does, unless its
    owner's `template` says otherwise."""
    asked = template.security_context if template is not None else None
    if asked is not None and asked.run_as_user is not None:
        user = asked.run_as_user
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": asked is None or asked.read_only_root_filesystem is not False,
        "runAsNonRoot": user != 0,
        "runAsUser": user,
        "runAsGroup": user,
    }


def confined(spec: Mapping[str, Any], scratch: str) -> dict[str, Any]:
    """A pod's spec with a /tmp for every container, and with a most that each of its empty folders may hold."""
    volumes = [*spec["volumes"], {"name": "tmp", "emptyDir": {}}]
    return {
        **spec,
        **{
            kind: [each | {"volumeMounts": [*each["volumeMounts"], tmp()]} for each in spec[kind]]
            for kind in ("initContainers", "containers")
            if kind in spec
        },
        "volumes": [
            each | {"emptyDir": {"sizeLimit": scratch} | each["emptyDir"]} if "emptyDir" in each else each
            for each in volumes
        ],
    }


def security() -> dict[str, Any]:
    """A pod's `securityContext`."""
    return {
        "seccompProfile": {"type": "RuntimeDefault"},
        # A claim is root's as a rule: it is handed to this group, which every process of the pod is in.
        "fsGroup": USER,
        "fsGroupChangePolicy": "OnRootMismatch",
    }


def pod_ip() -> dict[str, Any]:
    """The variable POD_IP, the pod's own address."""
    return {"name": Variable.POD_IP, "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}


def pod_uid() -> dict[str, Any]:
    """The variable POD_UID, which nobody outside the pod and the API knows."""
    return {"name": Variable.POD_UID, "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}}


def placement(resources: Resources) -> dict[str, Any]:
    """The part of a pod's spec that says where it may run."""
    placed: dict[str, Any] = {}
    if resources.node_selector:
        placed["nodeSelector"] = dict(resources.node_selector)
    if resources.tolerations:
        placed["tolerations"] = [
            toleration.model_dump(by_alias=True, exclude_none=True) for toleration in resources.tolerations
        ]
    if expressions := _gpu_expressions(resources):
        terms = [{"matchExpressions": expressions}]
        required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
        placed["affinity"] = {"nodeAffinity": required}
    return placed


def _gpu_expressions(resources: Resources) -> list[dict[str, Any]]:
    gpu = resources.gpu
    expressions: list[dict[str, Any]] = []
    if gpu is None:
        return expressions
    if gpu.product:
        expressions.append({"key": GPU_PRODUCT, "operator": "In", "values": list(gpu.product)})
    if gpu.min_memory:
        # Gt is the only order that node affinity knows; "at least n" is "more than n - 1".
        least = math.ceil(quantity.memory(gpu.min_memory) / 2**20)
        expressions.append({"key": GPU_MEMORY, "operator": "Gt", "values": [str(least - 1)]})
    return expressions


def threads(cpu: str | None, processes: int = 1) -> list[dict[str, str]]:
    """OMP_NUM_THREADS from the cpu limit, which that many processes share: the default takes every core of the node,
    which is slower when shared. Without a limit several processes get a thread each, as from torchrun, which would warn
    of it among the run's own lines."""
    limit = cores(cpu)
    if limit is None:
        return [{"name": "OMP_NUM_THREADS", "value": "1"}] if processes > 1 else []
    return [{"name": "OMP_NUM_THREADS", "value": str(max(1, limit // processes))}]


def cores(cpu: str | None) -> int | None:
    """Whole cores of a cpu limit, at least one; None without a limit."""
    return None if cpu is None else max(1, int(quantity.cores(cpu)))


def container_status(pod: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Status of a container or init container; empty while the node has not reported it."""
    status = pod.get("status") or {}
    reported = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    return next((container for container in reported if container["name"] == name), {})


HEARD = "heard"
"""Field of a cached pod: what `heard` told of it."""


def heard(pod: Mapping[str, Any]) -> str | None:
    """When the node last told how the containers are, by the API server's clock; None where that keeps no account."""
    told = [
        entry["time"]
        for entry in pod["metadata"].get("managedFields") or []
        if "time" in entry and "f:containerStatuses" in ((entry.get("fieldsV1") or {}).get("f:status") or {})
    ]
    return max(told, default=None)


def terminated(pod: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    """How the container ended: now, or the last time if it was restarted since.

    `finishedAt` is when the API server heard of it, where that is known: the node's own clock may be wrong by hours.
    """
    container = container_status(pod, name)
    if (end := (container.get("state") or {}).get("terminated")) is not None:
        return {**end, "finishedAt": pod[HEARD]} if HEARD in pod else dict(end)
    end = (container.get("lastState") or {}).get("terminated")
    return dict(end) if end is not None else None


def waiting(pod: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    """Why the container does not run yet, as the kubelet says it."""
    reason = (container_status(pod, name).get("state") or {}).get("waiting")
    return dict(reason) if reason else None


def message(end: Mapping[str, Any]) -> messages.Outcome | messages.Unreadable | None:
    """The termination message if it is one of ours, or why it cannot be read."""
    read = said.read(end.get("message") or "")
    try:
        return None if read is None else messages.of(read)
    except messages.Unreadable as error:
        return error


def unschedulable(pod: Mapping[str, Any]) -> str | None:
    """The scheduler's own words while no node fits."""
    for condition in (pod.get("status") or {}).get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return str(condition.get("message") or condition.get("reason") or "no node fits")
    return None


def scheduled(pod: Mapping[str, Any]) -> bool:
    """Whether a node was chosen."""
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(condition["type"] == "PodScheduled" and condition["status"] == "True" for condition in conditions)


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Whether every container passes its readiness probe."""
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def deleting(pod: Mapping[str, Any]) -> bool:
    """Whether the pod was told to go."""
    return "deletionTimestamp" in pod["metadata"]


PULL_FAILURES = ("ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull")
CREATE_FAILURES = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")
