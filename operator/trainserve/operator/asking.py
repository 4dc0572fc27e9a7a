"""The resolver pod, which looks a version up in the store because the operator reads no storage, and its result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainserve.api.reasons import By, said_by
from trainserve.operator import pods, shares
from trainserve.operator.objects import Object
from trainserve.operator.settings import Settings

CONTAINER = "resolve"
REASONS = said_by(By.RESOLVE)
"""Reasons that the pod may report instead of a version."""


def pod_spec(settings: Settings, namespace: str, model: str, version: int | None, *options: str) -> Object:
    """Return the spec of a pod that looks up `version` of `model`, or the newest version if it is None.

    `options` are further arguments of `trainserve.serving resolve`.
    """
    arguments = ["--store", settings.store.mounted, "--public-root", settings.store.public]
    arguments += ["--namespace", namespace, "--model", model]
    arguments += ["--version", str(version)] if version is not None else []
    wanted = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pods.security(),
        "restartPolicy": "Never",
        "containers": [
            {
                "name": CONTAINER,
                "image": settings.serving_image,
                "command": ["python", "-m", "trainserve.serving", "resolve", *arguments, *options],
                "envFrom": settings.store_credentials(),
                "resources": shares.of_helper(settings.shares.resolve),
                "securityContext": pods.hardened(),
                "volumeMounts": settings.store.mounts(namespace, read_only=True) + settings.credential_mounts(),
            }
        ],
        "volumes": settings.store.volumes() + settings.credential_volumes(),
    }
    return pods.confined(wanted, settings.scratch)


def end_of(pod: Object) -> Mapping[str, Any] | None:
    """Return how the pod's container terminated; None while it runs. For an evicted pod only a time is known."""
    end = pods.terminated(pod, CONTAINER)
    over = end is not None or pods.is_over(pod)
    return {"finishedAt": pod["metadata"].get("creationTimestamp"), **(end or {})} if over else None
