"""The pod that asks the store which version there is, because the operator reads no storage, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainserve.api.reasons import By, said_by
from trainserve.operator import pods, shares
from trainserve.operator.plan import Object
from trainserve.operator.settings import Settings

CONTAINER = "resolve"
REASONS = said_by(By.RESOLVE)
"""Why the store has no answer, as the pod says."""


def pod_spec(settings: Settings, namespace: str, model: str, version: int | None, *options: str) -> Object:
    """Asks for the newest version, or whether there is this one."""
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
    """How the pod ended; None while it goes on. Of an evicted pod nobody saw how."""
    end = pods.terminated(pod, CONTAINER)
    over = end is not None or (pod.get("status") or {}).get("phase") in ("Failed", "Succeeded")
    return {"finishedAt": pod["metadata"].get("creationTimestamp"), **(end or {})} if over else None
