"""Live progress: the pod to ask, and the answer in the form of the status."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainserve.api import messages
from trainserve.api.pod import Endpoint, Port
from trainserve.api.reported import Progress
from trainserve.operator import pods
from trainserve.operator.poller import Target
from trainserve.operator.said import as_status
from trainserve.operator.trainjob.observed import Observed

EVERY = 2.0
"""Seconds between two requests to one run."""


def targets(observed: Observed) -> dict[str, Target]:
    """Return rank 0 of the attempt that runs. A user's own command is not asked, since it need not answer."""
    if observed.outline.has_command:
        return {}
    first = (observed.pods[name] for name, (_, rank) in observed.places.items() if rank == 0)
    running = {pod["metadata"]["uid"]: pods.address(pod) for pod in first if pods.phase(pod) == "Running"}
    return {uid: Target(f"http://{ip}:{Port.PROGRESS}{Endpoint.PROGRESS}", EVERY) for uid, ip in running.items() if ip}


def latest(answers: Mapping[str, dict[str, Any]]) -> dict[str, Any] | None:
    """Return the status field `progress`; None without a valid answer."""
    told = (messages.answered(Progress, answer) for answer in answers.values() if answer)
    return next((as_status(progress) for progress in told if progress is not None), None)
