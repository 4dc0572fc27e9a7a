"""Live progress of a run: the endpoint to poll, and its answer in the form of the status."""

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
    """Return the progress endpoint of the running rank 0, by the pod's uid; empty for a user's own command, which need
    not have one."""
    if observed.outline.has_command:
        return {}
    first = (observed.pods[name] for name, (_, rank) in observed.places.items() if rank == 0)
    running = {pod["metadata"]["uid"]: pods.address(pod) for pod in first if pods.phase(pod) == "Running"}
    return {uid: Target(f"http://{ip}:{Port.PROGRESS}{Endpoint.PROGRESS}", EVERY) for uid, ip in running.items() if ip}


def latest(answers: Mapping[str, dict[str, Any]]) -> dict[str, Any] | None:
    """Return the status field `progress`; None without a valid answer."""
    told = (messages.answered(Progress, answer) for answer in answers.values() if answer)
    return next((as_status(progress) for progress in told if progress is not None), None)
