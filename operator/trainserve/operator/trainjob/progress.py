"""Live progress: whom to ask, and what becomes of the answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainserve.api import messages
from trainserve.api.pod import Endpoint, Port
from trainserve.api.reported import Progress
from trainserve.operator import labels
from trainserve.operator.plan import Object
from trainserve.operator.poller import Target
from trainserve.operator.said import as_status
from trainserve.operator.trainjob.names import place_of

EVERY = 2.0
"""Seconds between two questions to one run."""


def targets(job: Object, children: list[Object]) -> dict[str, Target]:
    """Rank 0 of the attempt that runs. A user's own command is not asked: it need not answer."""
    if (job["spec"].get("model") or {}).get("command") is not None:
        return {}
    running = [
        pod
        for pod in children
        if pod["kind"] == "Pod"
        and labels.owned_by(pod, job["metadata"]["uid"])
        and (place_of(job["metadata"]["name"], pod["metadata"]["name"]) or (0, None))[1] == 0
        and (pod.get("status") or {}).get("phase") == "Running"
        and pod["status"].get("podIP")
    ]
    return {
        pod["metadata"]["uid"]: Target(f"http://{pod['status']['podIP']}:{Port.PROGRESS}{Endpoint.PROGRESS}", EVERY)
        for pod in running
    }


def latest(answers: Mapping[str, dict[str, Any]]) -> dict[str, Any] | None:
    """The status field `progress`; None when nobody has answered in its form."""
    told = (messages.answered(Progress, answer) for answer in answers.values() if answer)
    return next((as_status(progress) for progress in told if progress is not None), None)
