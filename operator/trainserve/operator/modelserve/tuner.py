"""The tuning pod, which measures the settings that hold an objective on a server of its own. See docs/contracts.md."""

from __future__ import annotations

from typing import Any

from trainserve.api.modelserve import ModelServeSpec, Slo
from trainserve.api.pod import CONTROLLED_MODE, SERVING_MODE, PodPath, Port, SharedFile, Variable
from trainserve.operator import labels, pods, shares
from trainserve.operator.modelserve import pod as serving
from trainserve.operator.modelserve.version import Version
from trainserve.operator.objects import Object
from trainserve.operator.settings import Settings

DEADLINE_SECONDS = 3600
"""Longer than a tuner takes, including the start of a large model."""


def name_of(serve: Object, key: str) -> str:
    """Return the pod's name, which differs for each `key` of a tuning."""
    return f"{serve['metadata']['name']}-tune-{key}"


def pod(serve: Object, name: str, spec: ModelServeSpec, slo: Slo, target: Version, settings: Settings) -> Object:
    """Return the pod that measures one version on the hardware that will serve it."""
    wanted = serving.pod_spec(spec, target, settings, serve["metadata"]["namespace"])
    triton, _ = wanted["containers"]
    metadata = labels.metadata(serve, name, {labels.MODELSERVE: serve["metadata"]["name"]})
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": labels.of_pod(spec.pod, metadata),
        "spec": wanted
        | {
            "restartPolicy": "Never",
            "activeDeadlineSeconds": DEADLINE_SECONDS,
            "containers": [_server(triton), _tuner(spec, slo, target, settings)],
        },
    }


def _server(triton: dict[str, Any]) -> dict[str, Any]:
    """Return the serving container of Triton, changed to load only models that the tuner requests."""
    probes = ("startupProbe", "readinessProbe", "livenessProbe", "lifecycle")
    own = {*SERVING_MODE, *serving.client_flags(triton["image"])}
    command = [argument for argument in triton["command"] if argument not in own]
    command += CONTROLLED_MODE
    command += serving.client_flags(triton["image"], f"{serving.CLOSED},model-repository")
    return {name: value for name, value in triton.items() if name not in probes} | {"command": command}


def _tuner(spec: ModelServeSpec, slo: Slo, target: Version, settings: Settings) -> dict[str, Any]:
    arguments = ["--version", f"{PodPath.SHARED}/{SharedFile.VERSION}"]
    arguments += ["--repository", f"{PodPath.SHARED}/{SharedFile.REPOSITORY}"]
    arguments += ["--url", f"{Variable.POD_IP.reference}:{Port.HTTP}", "--p99", slo.p99]
    arguments += ["--minutes", f"{slo.measure_seconds / 60:g}"]
    arguments += ["--settings", serving.settings_argument(spec.triton), "--gpus", str(spec.resources.gpus)]
    cores = pods.cores(shares.cpu_limit(spec.resources, settings.shares.triton))
    arguments += [] if cores is None else ["--cores", str(cores)]
    return {
        "name": "tune",
        "image": settings.serving_image,
        "command": ["python", "-m", "trainserve.serving", "tune", *arguments],
        "env": [pods.pod_ip(), pods.pod_uid(), *settings.bounds()],
        "resources": shares.of_helper(settings.shares.tune),
        "securityContext": pods.hardened(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": "shared", "mountPath": PodPath.SHARED}, pods.tmp()],
    }
