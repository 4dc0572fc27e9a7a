"""The check, before a version is served, that the store holds what a run of a user's own code reports as published."""

from __future__ import annotations

from dataclasses import replace

from trainserve.api.messages import Failed, Resolved, Unreadable
from trainserve.api.reasons import Reason
from trainserve.operator import asking, labels, pods
from trainserve.operator.objects import Object
from trainserve.operator.settings import Settings
from trainserve.operator.trainjob.outcome import Outcome

PATIENCE_SECONDS = 30
"""Seconds for which that pod waits for a version, which may become visible on other nodes with a delay."""


_ABSENT = (Reason.MODEL_NOT_FOUND, Reason.VERSION_NOT_FOUND, Reason.VERSION_MISMATCH)
"""Reasons that the pod reports if the store has no such version."""


def pod(job: Object, name: str, model: str, version: int, settings: Settings) -> Object:
    """Return the pod that checks whether the store holds this version."""
    metadata, wait = job["metadata"], ("--wait", str(PATIENCE_SECONDS))
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": labels.metadata(job, name, {labels.TRAINJOB: metadata["name"]}),
        "spec": asking.pod_spec(settings, metadata["namespace"], model, version, *wait),
    }


def judged(outcome: Outcome, artifact: Object, looked: Object) -> Outcome | None:
    """Return the outcome, corrected if the store disagrees; None while the pod checks, or if it could not.

    `artifact` is the version that the run reports, `looked` the pod.
    """
    end = asking.end_of(looked)
    answer = pods.message(end) if end else None
    if isinstance(answer, Resolved):
        if (answer.version, answer.digest) == (artifact["version"], artifact["digest"]):
            return outcome
        words = f"the run says {artifact['digest']}, the store has {answer.digest}"
    elif isinstance(answer, Failed) and answer.reason in _ABSENT:
        words = answer.message or answer.reason
    else:
        return None
    said = f"the store does not hold version {artifact['version']} as the run says: {words}"
    return replace(outcome, reason=Reason.INVALID_RESULT, message=said, succeeded=False, artifact=None)


def is_over(looked: Object) -> bool:
    """Return whether the pod has ended, successfully or not."""
    return asking.end_of(looked) is not None


def why_not(looked: Object) -> str:
    """Return why the pod has given no answer, as far as known; may be empty."""
    end, waiting = asking.end_of(looked), pods.waiting(looked, asking.CONTAINER) or {}
    told = pods.message(end) if end else None
    said = told.message if isinstance(told, Failed) else told if isinstance(told, Unreadable) else None
    return str(said or pods.unschedulable(looked) or waiting.get("message") or waiting.get("reason") or "")
