"""The children of one attempt: its configuration, the gang's headless Service, its pods. See docs/contracts.md."""

from __future__ import annotations

import json
from typing import Any

from trainserve.api.trainjob import TrainJobSpec
from trainserve.operator import labels, pods
from trainserve.operator.plan import Object
from trainserve.operator.settings import Settings
from trainserve.operator.trainjob.digests import spec_digests
from trainserve.operator.trainjob.names import attempt_name, pod_name
from trainserve.operator.trainjob.outcome import CONTAINER

CONFIG_FOLDER = "/etc/trainserve"
CONFIG_FILE = "config.json"
OUTPUT_FOLDER = "/var/lib/trainserve/output"
DATA_FOLDER = "/var/lib/trainserve/data"
PROGRESS_PORT = 9400
RENDEZVOUS_PORT = 29500


def attempt_objects(job: Object, spec: TrainJobSpec, attempt: int, settings: Settings) -> list[Object]:
    """Everything an attempt consists of, in the order of creation."""
    name = job["metadata"]["name"]
    ranks = range(spec.workers.nodes)
    gang = len(ranks) > 1
    objects = [] if _is_command(spec) else [config_map(job, spec, attempt, settings)]
    if gang:
        objects.append(headless_service(job, attempt))
    for rank in ranks:
        pod = worker_pod(job, spec, attempt, rank, settings)
        if gang:
            first = pod_name(name, attempt, 0)
            pod["spec"] |= {"hostname": pod["metadata"]["name"], "subdomain": attempt_name(name, attempt)}
            pod["spec"]["containers"][0]["env"] += _rendezvous(
                len(ranks), rank, f"{first}.{attempt_name(name, attempt)}"
            )
        objects.append(pod)
    return objects


def config_map(job: Object, spec: TrainJobSpec, attempt: int, settings: Settings) -> Object:
    """The run's whole configuration, so that it can be repeated by hand."""
    text = json.dumps(run_config(job, spec, attempt, settings), indent=1, sort_keys=True)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata(job, attempt_name(job["metadata"]["name"], attempt), attempt),
        "data": {CONFIG_FILE: text},
    }


def run_config(job: Object, spec: TrainJobSpec, attempt: int, settings: Settings) -> dict[str, Any]:
    """What a training pod reads."""
    metadata = job["metadata"]
    said = spec.model_dump(
        mode="json", by_alias=True, exclude_none=True, exclude={"policy", "resources", "workers", "checkpoint"}
    )
    said["model"].setdefault("options", {})
    if (claim := _claim(spec)) is not None:
        said["dataset"]["path"] = f"{DATA_FOLDER}/{claim[1]}"
    return {
        "job": {
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
            "attempt": attempt,
        },
        "store": {"root": settings.store.mounted, "publicRoot": settings.store.public},
        **said,
    }


def headless_service(job: Object, attempt: int) -> Object:
    """Names the gang's pods for each other, before they are ready: that is when they meet."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(job, attempt_name(job["metadata"]["name"], attempt), attempt),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {labels.TRAINJOB: job["metadata"]["name"], labels.ATTEMPT: str(attempt)},
            "ports": [{"name": "rendezvous", "port": RENDEZVOUS_PORT}],
        },
    }


def worker_pod(job: Object, spec: TrainJobSpec, attempt: int, rank: int, settings: Settings) -> Object:
    """One worker of the gang."""
    metadata = _metadata(job, pod_name(job["metadata"]["name"], attempt, rank), attempt)
    metadata["labels"][labels.RANK] = str(rank)
    metadata["annotations"] = {labels.SPEC_DIGESTS: json.dumps(spec_digests(spec), sort_keys=True)}
    parts = _command_container(spec, settings) if _is_command(spec) else _zoo_container(spec, settings)
    container = {
        "name": CONTAINER,
        "resources": pods.limits(spec.resources),
        "securityContext": pods.HARDENED,
        # A trainer that dies before it can report leaves the end of its log as the reason.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        **parts,
        "volumeMounts": [{"name": "output", "mountPath": OUTPUT_FOLDER}, *parts.get("volumeMounts", [])],
        "env": [
            pods.POD_IP,
            {"name": "TRAINSERVE_OUTPUT", "value": OUTPUT_FOLDER},
            *pods.threads(spec.resources),
            *parts.get("env", []),
        ],
    }
    volumes = [{"name": "output", "emptyDir": {}}]
    if not _is_command(spec):
        volumes += _zoo_volumes(job, spec, attempt, settings)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
            "volumes": volumes,
            **pods.placement(spec.resources),
        },
    }


def _zoo_container(spec: TrainJobSpec, settings: Settings) -> dict[str, Any]:
    config = f"{CONFIG_FOLDER}/{CONFIG_FILE}"
    mounts = [{"name": "config", "mountPath": CONFIG_FOLDER, "readOnly": True}, *settings.store.mounts(read_only=False)]
    if _claim(spec) is not None:
        mounts.append({"name": "data", "mountPath": DATA_FOLDER, "readOnly": True})
    return {
        "image": settings.trainer_image,
        "command": ["python", "-m", "trainserve.models", config],
        "ports": [{"name": "progress", "containerPort": PROGRESS_PORT}],
        "env": [
            {"name": "TRAINSERVE_CONFIG", "value": config},
            {"name": "TRAINSERVE_PROGRESS_PORT", "value": str(PROGRESS_PORT)},
        ],
        "envFrom": settings.store_credentials(),
        "volumeMounts": mounts,
    }


def _zoo_volumes(job: Object, spec: TrainJobSpec, attempt: int, settings: Settings) -> list[dict[str, Any]]:
    config = {"name": attempt_name(job["metadata"]["name"], attempt)}
    volumes: list[dict[str, Any]] = [{"name": "config", "configMap": config}, *settings.store.volumes()]
    if (claim := _claim(spec)) is not None:
        volumes.append({"name": "data", "persistentVolumeClaim": {"claimName": claim[0], "readOnly": True}})
    return volumes


def _command_container(spec: TrainJobSpec, settings: Settings) -> dict[str, Any]:
    return {"image": spec.model.image or settings.trainer_image, "command": list(spec.model.command or [])}


def _rendezvous(world: int, rank: int, master: str) -> list[dict[str, str]]:
    """torchrun's own variables (torch.distributed.run: every option is also read from PET_<OPTION>)."""
    variables = {"NNODES": world, "NODE_RANK": rank, "MASTER_ADDR": master, "MASTER_PORT": RENDEZVOUS_PORT}
    return [{"name": f"PET_{name}", "value": str(value)} for name, value in variables.items()]


def _is_command(spec: TrainJobSpec) -> bool:
    return spec.model.command is not None


def _claim(spec: TrainJobSpec) -> tuple[str, str] | None:
    """Claim and path inside it of a data set on a volume."""
    uri = spec.dataset.uri if spec.dataset else None
    if uri is None or not uri.startswith("pvc://"):
        return None
    claim, _, path = uri.removeprefix("pvc://").partition("/")
    return claim, path


def _metadata(job: Object, name: str, attempt: int) -> dict[str, Any]:
    return labels.metadata(job, name, {labels.TRAINJOB: job["metadata"]["name"], labels.ATTEMPT: str(attempt)})
