"""Common parts of training and serving pods: placement and security to build them, state and failures to read them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from trainserve.api import messages
from trainserve.api.base import PodTemplate, Resources
from trainserve.api.pod import PodPath, Variable
from trainserve.api.scalars import quantity
from trainserve.operator import conditions, objects, said

GPU_PRODUCT = "nvidia.com/gpu.product"
GPU_MEMORY = "nvidia.com/gpu.memory"
"""Node labels that GPU feature discovery sets; memory is in MiB."""

USER = 65532
"""User and group of TrainServe's own images (images/*.Dockerfile)."""
TRITON_USER = 1000
"""User of NVIDIA's image, which runs as root by default and supports only this other user
(triton-inference-server#2600)."""


def tmp() -> dict[str, str]:
    """Return the mount of /tmp, so that programs may write there although their container's root is read-only."""
    return {"name": "tmp", "mountPath": PodPath.TEMPORARY}


def hardened(user: int = USER, template: PodTemplate | None = None) -> dict[str, Any]:
    """Return a container's `securityContext` by the profile `restricted` of the Pod Security Standards, with a
    read-only root filesystem.

    A user's own image, which may be built for root, runs as `user`, too. The owner's `template` may set another user
    and a writable root filesystem.
    """
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
    """Return a pod's spec with a /tmp for every container, and with the size limit `scratch` on each `emptyDir`."""
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
    """Return a pod's `securityContext`."""
    return {
        "seccompProfile": {"type": "RuntimeDefault"},
        # A claim usually belongs to root, so Kubernetes gives it to this group, of which every process is a member.
        "fsGroup": USER,
        "fsGroupChangePolicy": "OnRootMismatch",
    }


def pod_ip() -> dict[str, Any]:
    """Return the variable POD_IP, the pod's own address."""
    return {"name": Variable.POD_IP, "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}


def pod_uid() -> dict[str, Any]:
    """Return the variable POD_UID, which only the pod and readers of the API know."""
    return {"name": Variable.POD_UID, "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}}


def placement(resources: Resources) -> dict[str, Any]:
    """Return the part of a pod's spec that says where it may run."""
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
        # Node affinity has no "at least"; "at least n" is "more than n - 1".
        least = math.ceil(quantity.memory(gpu.min_memory) / 2**20)
        expressions.append({"key": GPU_MEMORY, "operator": "Gt", "values": [str(least - 1)]})
    return expressions


def threads(cpu: str | None, processes: int = 1) -> list[dict[str, str]]:
    """Return OMP_NUM_THREADS for processes that share a cpu limit; empty for one process without a limit.

    OpenMP's default is every core of the node, which is slower if other containers share it. Without a limit, several
    processes get one thread each, as torchrun would set it, but with a warning among the run's own lines.
    """
    limit = cores(cpu)
    if limit is None:
        return [{"name": "OMP_NUM_THREADS", "value": "1"}] if processes > 1 else []
    return [{"name": "OMP_NUM_THREADS", "value": str(max(1, limit // processes))}]


def cores(cpu: str | None) -> int | None:
    """Return the whole cores of a cpu limit, at least one; None without a limit."""
    return None if cpu is None else max(1, int(quantity.cores(cpu)))


def container_status(pod: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return the status of a container or init container; empty until the node has reported it."""
    status = objects.status(pod)
    reported = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    return next((container for container in reported if container["name"] == name), {})


HEARD = "heard"
"""Field of a cached pod: the result of `heard`."""


def heard(pod: Mapping[str, Any]) -> str | None:
    """Return when the node last reported the containers, by the API server's clock; None if that is not recorded."""
    told = [
        entry["time"]
        for entry in pod["metadata"].get("managedFields") or []
        if "time" in entry and "f:containerStatuses" in ((entry.get("fieldsV1") or {}).get("f:status") or {})
    ]
    return max(told, default=None)


def terminated(pod: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    """Return the container's last terminated state, also if it was restarted since; None if it never ended.

    `finishedAt` is when the API server received it, if that is known: the node's clock may be wrong by hours.
    """
    container = container_status(pod, name)
    if (end := (container.get("state") or {}).get("terminated")) is not None:
        return {**end, "finishedAt": pod[HEARD]} if HEARD in pod else dict(end)
    end = (container.get("lastState") or {}).get("terminated")
    return dict(end) if end is not None else None


def waiting(pod: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    """Return the container's waiting state as reported by the kubelet; None if it is not waiting."""
    reason = (container_status(pod, name).get("state") or {}).get("waiting")
    return dict(reason) if reason else None


def message(end: Mapping[str, Any]) -> messages.Outcome | messages.Unreadable | None:
    """Return the termination message, or why it cannot be read; None if it is not one that TrainServe's code writes."""
    read = said.read(end.get("message") or "")
    try:
        return None if read is None else messages.of(read)
    except messages.Unreadable as error:
        return error


def unschedulable(pod: Mapping[str, Any]) -> str | None:
    """Return the scheduler's message while no node fits; None otherwise."""
    condition = conditions.find(objects.status(pod).get("conditions"), "PodScheduled")
    if condition is None or condition["status"] != "False":
        return None
    return str(condition.get("message") or condition.get("reason") or "no node fits")


def scheduled(pod: Mapping[str, Any]) -> bool:
    """Return whether the scheduler has chosen a node for the pod."""
    return conditions.is_true(objects.status(pod).get("conditions"), "PodScheduled")


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Return whether every container passes its readiness probe."""
    return conditions.is_true(objects.status(pod).get("conditions"), "Ready")


def phase(pod: Mapping[str, Any]) -> str | None:
    """Return the pod's phase; None until the API server has set it."""
    return objects.status(pod).get("phase")


def is_over(pod: Mapping[str, Any]) -> bool:
    """Return whether the pod has ended, successfully or not."""
    return phase(pod) in ("Succeeded", "Failed")


def address(pod: Mapping[str, Any]) -> str | None:
    """Return the pod's IP address; None until it has one."""
    return objects.status(pod).get("podIP")


def deleting(pod: Mapping[str, Any]) -> bool:
    """Return whether the pod is being deleted."""
    return "deletionTimestamp" in pod["metadata"]


START_FAILURES = {
    **dict.fromkeys(("ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull"), "ImagePull"),
    **dict.fromkeys(("CreateContainerConfigError", "CreateContainerError", "RunContainerError"), "ContainerConfig"),
}
"""The operator's reason for each reason that a kubelet reports for a waiting container."""


def start_failure(pod: Mapping[str, Any], name: str) -> tuple[str, str] | None:
    """Return why the container cannot start: a reason of START_FAILURES and the kubelet's message; None if it can."""
    reason = waiting(pod, name) or {}
    failure = START_FAILURES.get(reason.get("reason", ""))
    return None if failure is None else (failure, reason.get("message") or reason["reason"])
