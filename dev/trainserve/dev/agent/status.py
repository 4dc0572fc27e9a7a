"""A Pod's status as a kubelet writes it, computed from its containers' records alone.

The rules follow pkg/kubelet/kubelet_pods.go (getPhase) and pkg/kubelet/status/generate.go of Kubernetes 1.20.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from trainserve.dev.agent.records import ContainerRecord, Running, State, Terminated, Waiting

Object = dict[str, Any]


@dataclass(frozen=True)
class PodFacts:
    """Inputs of a Pod's status. `failure` is (reason, message) if the node itself failed the pod."""

    pod: Object
    init_containers: Sequence[ContainerRecord]
    containers: Sequence[ContainerRecord]
    host_ip: str
    pod_ip: str
    start_time: float
    now: float
    failure: tuple[str, str] | None = None


def pod_status(facts: PodFacts) -> Object:
    """Return the status to write. Unchanged conditions keep their transition time from `facts.pod`."""
    phase = "Failed" if facts.failure else pod_phase(facts)
    status: Object = {
        "phase": phase,
        "reason": facts.failure[0] if facts.failure else None,
        "message": facts.failure[1] if facts.failure else None,
        "conditions": _conditions(facts, phase),
        "hostIP": facts.host_ip,
        "startTime": timestamp(facts.start_time),
        "containerStatuses": [container_status(record) for record in facts.containers],
    }
    if facts.pod_ip:
        # `replace`, because a merge would keep an earlier address and a pod may have only one.
        status |= {"podIP": facts.pod_ip, "podIPs": [{"$patch": "replace"}, {"ip": facts.pod_ip}]}
    if facts.init_containers:
        status["initContainerStatuses"] = [_init_status(record) for record in facts.init_containers]
    return status


def pod_phase(facts: PodFacts) -> str:
    """Return the phase: Pending, Running, Succeeded or Failed."""
    policy = facts.pod["spec"].get("restartPolicy", "Always")
    init = [_ended(record) for record in facts.init_containers]
    if policy == "Never" and any(end and end.exit_code != 0 for end in init):
        return "Failed"
    if any(end is None or end.exit_code != 0 for end in init):
        return "Pending"
    if any(isinstance(each.state, Waiting) and each.last is None for each in facts.containers):
        return "Pending"
    if any(isinstance(each.state, Running) for each in facts.containers):
        return "Running"
    if policy == "Always" or any(isinstance(each.state, Waiting) for each in facts.containers):
        return "Running"
    if all(end and end.exit_code == 0 for end in map(_ended, facts.containers)):
        return "Succeeded"
    return "Failed" if policy == "Never" else "Running"


def container_status(record: ContainerRecord) -> Object:
    """Return the ContainerStatus of a container's record."""
    status: Object = {
        "name": record.name,
        "image": record.image,
        "imageID": "",
        "state": _state(record.state),
        "lastState": _state(record.last) if record.last else {},
        "ready": record.ready,
        "started": record.started,
        "restartCount": record.restarts,
    }
    if record.container_id:
        status["containerID"] = record.container_id
    return status


def is_ready(pod: Object) -> bool:
    """Return whether a Service sends new connections to the Pod."""
    if pod["metadata"].get("deletionTimestamp"):
        return False
    conditions = pod.get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


NODES_OWN = ("Initialized", "Ready", "ContainersReady")
"""Conditions that the node writes; the scheduler and the evicting controller write the others."""


def status_conditions(pod: Object) -> dict[str, str]:
    """Return the statuses of the conditions that the node writes, by type."""
    conditions = pod.get("status", {}).get("conditions", [])
    return {each["type"]: each["status"] for each in conditions if each["type"] in NODES_OWN}


def is_terminal(pod: Object) -> bool:
    """Return whether the Pod has ended for good."""
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def timestamp(seconds: float) -> str:
    """Format a Unix time in seconds as Kubernetes does."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _init_status(record: ContainerRecord) -> Object:
    end = _ended(record)
    return container_status(record) | {"ready": end is not None and end.exit_code == 0}


def _ended(record: ContainerRecord) -> Terminated | None:
    return record.state if isinstance(record.state, Terminated) else None


def _state(state: State) -> Object:
    match state:
        case Waiting(reason, message):
            return {"waiting": {"reason": reason} | ({"message": message} if message else {})}
        case Running(started_at):
            return {"running": {"startedAt": timestamp(started_at)}}
        case Terminated():
            ended: Object = {
                "exitCode": state.exit_code,
                "reason": state.reason,
                "startedAt": timestamp(state.started_at),
                "finishedAt": timestamp(state.finished_at),
                "containerID": state.container_id,
            }
            return {"terminated": ended | ({"message": state.message} if state.message else {})}


def _conditions(facts: PodFacts, phase: str) -> list[Object]:
    unready = [each.name for each in facts.containers if not each.ready]
    incomplete = [each.name for each in facts.init_containers if not ((end := _ended(each)) and end.exit_code == 0)]
    ended = phase == "Succeeded"
    initialized = _verdict(
        not incomplete, "ContainersNotInitialized", f"containers with incomplete status: {_list(incomplete)}"
    )
    if ended:
        initialized = {"status": "True", "reason": "PodCompleted", "message": None}
        containers_ready = {"status": "False", "reason": "PodCompleted", "message": None}
    else:
        containers_ready = _verdict(
            not unready, "ContainersNotReady", f"containers with unready status: {_list(unready)}"
        )
    ready = containers_ready
    missing = _unmet_gates(facts.pod)
    if containers_ready["status"] == "True" and missing:
        ready = _verdict(False, "ReadinessGatesNotReady", f"readiness gates not met: {_list(missing)}")
    wanted = {
        "Initialized": initialized,
        "Ready": ready,
        "ContainersReady": containers_ready,
        "PodScheduled": _verdict(True, "", ""),
    }
    known = {each["type"]: each for each in facts.pod.get("status", {}).get("conditions", [])}
    return [_condition(name, verdict, known.get(name), facts.now) for name, verdict in wanted.items()]


def _condition(name: str, verdict: Object, known: Object | None, now: float) -> Object:
    changed = known is None or known["status"] != verdict["status"]
    since = timestamp(now) if changed or known is None else known["lastTransitionTime"]
    return {"type": name, **verdict, "lastTransitionTime": since}


def _unmet_gates(pod: Object) -> list[str]:
    met = {each["type"] for each in pod.get("status", {}).get("conditions", []) if each["status"] == "True"}
    gates = [each["conditionType"] for each in pod["spec"].get("readinessGates", [])]
    return [gate for gate in gates if gate not in met]


def _verdict(true: bool, reason: str, message: str) -> Object:
    return {
        "status": "True" if true else "False",
        "reason": None if true else reason,
        "message": None if true else message,
    }


def _list(names: Sequence[str]) -> str:
    return f"[{' '.join(names)}]"
