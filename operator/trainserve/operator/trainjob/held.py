"""Whether the store holds what a run says that it has published. A user's own code may say anything: a pod of ours
looks, before anybody takes the version."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from trainserve.api.messages import Failed, Resolved, Unreadable
from trainserve.api.reasons import Reason
from trainserve.operator import asking, labels, pods
from trainserve.operator.plan import Object
from trainserve.operator.settings import Settings
from trainserve.operator.trainjob.outcome import Outcome

SUFFIX = "-check"
"""How the name of that pod ends, and no other of a TrainJob's."""
PATIENCE_SECONDS = 30
"""How long that pod looks for a version: another node may see a moment later what was published on one."""


_ABSENT = (Reason.MODEL_NOT_FOUND, Reason.VERSION_NOT_FOUND, Reason.VERSION_MISMATCH)
"""What that pod says where the store has no such version."""


def is_asked(job: Object) -> bool:
    """Whether the run was of a user's own code."""
    model = job["spec"].get("model") or {}
    return "script" in model or "image" in model


def pod_name(job: str, attempt: int) -> str:
    """Of the pod that looks."""
    return f"{job}-{attempt}{SUFFIX}"


def pod(job: Object, attempt: int, artifact: dict[str, Any], settings: Settings) -> Object:
    """Looks whether the store holds this version."""
    metadata, model = job["metadata"], job["spec"]["output"]["model"]
    wait = ("--wait", str(PATIENCE_SECONDS))
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": labels.metadata(job, pod_name(metadata["name"], attempt), {labels.TRAINJOB: metadata["name"]}),
        "spec": asking.pod_spec(settings, metadata["namespace"], model, artifact["version"], *wait),
    }


def judged(outcome: Outcome, artifact: dict[str, Any], looked: Object) -> Outcome | None:
    """The outcome, or what it is instead; None while the pod looks, or where it could not."""
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
    """Whether the pod has ended, in whichever way."""
    return asking.end_of(looked) is not None


def why_not(looked: Object) -> str:
    """What is known of a pod that has given no answer."""
    end, waiting = asking.end_of(looked), pods.waiting(looked, asking.CONTAINER) or {}
    told = pods.message(end) if end else None
    said = told.message if isinstance(told, Failed) else told if isinstance(told, Unreadable) else None
    return str(said or pods.unschedulable(looked) or waiting.get("message") or waiting.get("reason") or "")
