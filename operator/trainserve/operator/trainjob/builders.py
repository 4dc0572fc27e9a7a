"""The children of one attempt: its configuration, the gang's headless Service, its pods. See docs/contracts.md."""

from __future__ import annotations

import json
from typing import Any

from trainserve.api.pod import PodPath, Port, Variable
from trainserve.api.trainjob import TrainJobSpec
from trainserve.operator import labels, network, pods, shares
from trainserve.operator.network import Peers
from trainserve.operator.objects import Object
from trainserve.operator.settings import Settings
from trainserve.operator.trainjob import gang
from trainserve.operator.trainjob.config import mounted, run_config
from trainserve.operator.trainjob.digests import spec_digests
from trainserve.operator.trainjob.names import attempt_name, pod_name
from trainserve.operator.trainjob.outcome import CONTAINER
from trainserve.operator.trainjob.volumes import Volumes

CONFIG_FILE = PodPath.CONFIG.removeprefix(f"{PodPath.CONFIG_FOLDER}/")


def attempt_objects(job: Object, spec: TrainJobSpec, attempt: int, settings: Settings) -> list[Object]:
    """Return all objects of an attempt, in the order of creation."""
    objects = [] if settings.peers is None else [network_policy(job, settings.peers)]
    objects += [] if _is_command(spec) else [config_map(job, spec, attempt, settings)]
    if spec.workers.nodes > 1:
        objects.append(headless_service(job, attempt))
    return objects + [worker_pod(job, spec, attempt, rank, settings) for rank in range(spec.workers.nodes)]


def config_map(job: Object, spec: TrainJobSpec, attempt: int, settings: Settings) -> Object:
    """Return the ConfigMap with the run's whole configuration, with which it can be repeated by hand."""
    text = json.dumps(run_config(job, spec, attempt, settings), indent=1, sort_keys=True)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata(job, attempt_name(job["metadata"]["name"], attempt), attempt),
        "data": {CONFIG_FILE: text},
    }


def network_policy(job: Object, peers: Peers) -> Object:
    """Return the policy: all ports are open within the gang, the progress port to the operator and Prometheus."""
    name = job["metadata"]["name"]
    allowed = [
        network.Ports((), [{"podSelector": {"matchLabels": {labels.TRAINJOB: name}}}]),
        network.Ports((Port.PROGRESS,), network.written([*peers.operator, *peers.prometheus])),
    ]
    return network.policy(job, labels.TRAINJOB, allowed)


def headless_service(job: Object, attempt: int) -> Object:
    """Return the Service that gives the gang's pods names for their rendezvous, before they are ready."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(job, attempt_name(job["metadata"]["name"], attempt), attempt),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {labels.TRAINJOB: job["metadata"]["name"], labels.ATTEMPT: str(attempt)},
            "ports": [{"name": "rendezvous", "port": gang.port(job, attempt)}],
        },
    }


def worker_pod(job: Object, spec: TrainJobSpec, attempt: int, rank: int, settings: Settings) -> Object:
    """Return one worker pod of the gang; `rank` is that of the pod, and torchrun numbers the processes in it."""
    metadata = _metadata(job, pod_name(job["metadata"]["name"], attempt, rank), attempt)
    metadata["labels"] |= {labels.RANK: str(rank), **labels.of_model(spec.output.model if spec.output else None)}
    metadata["annotations"] = {labels.SPEC_DIGESTS: json.dumps(spec_digests(spec), sort_keys=True)}
    if rank == 0 and not _is_command(spec):
        metadata["annotations"] |= settings.scrape(Port.PROGRESS)
    parts = _command_container(spec, settings) if _is_command(spec) else _trainer_container(spec, settings)
    resources = shares.of_workload(spec.resources, settings.shares.trainer)
    volumes = _volumes(job, spec, attempt, settings)
    volumes.shared_memory(resources.get("limits", {}).get("memory"))
    container = {
        "name": CONTAINER,
        "resources": resources,
        "securityContext": pods.hardened(template=spec.pod),
        # If a container dies before it can report, the end of its log becomes the reason.
        "terminationMessagePolicy": "FallbackToLogsOnError" if _is_command(spec) else settings.last_words(),
        **parts,
        "volumeMounts": volumes.mounts,
        "env": [
            pods.pod_ip(),
            {"name": Variable.OUTPUT, "value": PodPath.OUTPUT},
            *pods.threads(shares.cpu_limit(spec.resources, settings.shares.trainer), gang.processes(spec)),
            *parts.get("env", []),
            *(gang.rendezvous(job, spec, attempt, rank) if gang.is_gang(spec) else []),
            *({"name": each.name, "value": (each.value or "").replace("$", "$$")} for each in spec.model.env or ()),
        ],
    }
    wanted = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pods.security(),
        "containers": [container],
        "volumes": volumes.volumes,
        **pods.placement(spec.resources),
    }
    pod: Object = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": labels.of_pod(spec.pod, metadata),
        "spec": pods.confined(wanted, settings.scratch),
    }
    if spec.workers.nodes > 1:
        gang.place(pod, job, attempt)
    return pod


def _trainer_container(spec: TrainJobSpec, settings: Settings) -> dict[str, Any]:
    program = ["torchrun", "-m"] if gang.is_gang(spec) else ["python", "-m"]
    return {
        "image": spec.model.image or settings.trainer_image,
        "command": [*program, "trainserve.models", PodPath.CONFIG],
        "workingDir": PodPath.WORK,
        "ports": [{"name": "progress", "containerPort": Port.PROGRESS}],
        "env": [
            {"name": Variable.CONFIG, "value": PodPath.CONFIG},
            {"name": Variable.CACHE, "value": PodPath.CACHE},
            {"name": Variable.WORK, "value": PodPath.WORK},
            {"name": Variable.PROGRESS_PORT, "value": str(Port.PROGRESS)},
            *settings.bounds(),
        ],
        "envFrom": settings.store_credentials(),
    }


def _command_container(spec: TrainJobSpec, settings: Settings) -> dict[str, Any]:
    return {"image": spec.model.image or settings.trainer_image, "command": list(spec.model.command or [])}


def _volumes(job: Object, spec: TrainJobSpec, attempt: int, settings: Settings) -> Volumes:
    volumes = Volumes()
    volumes.scratch("output", PodPath.OUTPUT)
    if _is_command(spec):
        return volumes
    volumes.scratch("cache", PodPath.CACHE)
    volumes.scratch("work", PodPath.WORK)
    volumes.config_map("config", attempt_name(job["metadata"]["name"], attempt), PodPath.CONFIG_FOLDER)
    volumes.store(settings.store, job["metadata"]["namespace"])
    volumes.volumes += settings.credential_volumes()
    volumes.mounts += settings.credential_mounts()
    for name, address in mounted(spec).items():
        volumes.readable(name, address)
    return volumes


def _is_command(spec: TrainJobSpec) -> bool:
    return spec.model.command is not None


def _metadata(job: Object, name: str, attempt: int) -> dict[str, Any]:
    return labels.metadata(job, name, {labels.TRAINJOB: job["metadata"]["name"], labels.ATTEMPT: str(attempt)})
