"""Changes between two statuses of a ModelServe, for the log and the counters, as pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal

from trainserve.operator import conditions, statuses, times
from trainserve.operator.objects import Object
from trainserve.operator.transition import Transition, phase

DIGITS = 12
"""Digits of a digest that are shown to people."""
UP_TO_DATE = "UpToDate"
_BEHIND = {"Refused": "Accepted", "Waiting": "ModelResolved", "Ready": "Ready"}
"""Condition that determines a phase; for the other phases it is `Progressing`, or `Ready` if nothing progresses."""


def transition(before: Object, after: Object) -> Transition | None:
    """Return the transition, or None if it is not worth a log line."""
    state, known = _state(after), _state(before)
    if state == known:
        return None
    details: dict[str, int | str] = {}
    if after.get("version") is not None:
        details["version"] = after["version"]
    if after.get("digest") is not None:
        details["digest"] = short(after["digest"])
    return Transition(known[0], state[0], state[1], details)


def reason(status: Mapping[str, Any]) -> str:
    """Return the reason of the condition that determines the phase; empty if there is none."""
    known = status.get("conditions")
    behind = _BEHIND.get(phase(status))
    if behind is None:
        progressing = conditions.reason(known, "Progressing")
        behind = "Ready" if progressing in (None, UP_TO_DATE) else "Progressing"
    return conditions.reason(known, behind) or ""


def short(digest: str) -> str:
    """Return the first digits of a digest."""
    return digest.removeprefix("sha256:")[:DIGITS]


def rollout(before: Object, after: Object) -> Literal["completed", "failed"] | None:
    """Return how this change ended a rollout: `completed` if a version has taken traffic, `failed` if it cannot; None
    if no rollout ended."""
    if took_traffic(before, after) is not None:
        return "completed"
    return "failed" if _failing(after) and not _failing(before) else None


def took_traffic(before: Object, after: Object) -> Mapping[str, Any] | None:
    """Return the newest entry of the history if `before` does not have it; None otherwise."""
    newest = _newest(after)
    return None if newest is None or newest == _newest(before) else newest


def publish_to_serving(serve: Object, digest: str, jobs: Iterable[Object], now: datetime) -> float | None:
    """Return the seconds from the end of the TrainJob that published a version until it takes traffic at `now`.

    None unless the ModelServe follows what TrainJobs publish and was created before that end. `jobs` are the TrainJobs
    of the namespace, `digest` is that of the version.
    """
    found = [statuses.of_trainjob(job) for job in jobs if _follows(serve, job)]
    ends = [status.get("completionTime") for status in found if (status.get("artifact") or {}).get("digest") == digest]
    published = [times.from_text(end) for end in ends if end is not None]
    made = times.from_text(serve["metadata"]["creationTimestamp"])
    # A node's clock may be ahead of the operator's.
    return min((max(0.0, (now - finished).total_seconds()) for finished in published if made <= finished), default=None)


def _follows(serve: Object, job: Object) -> bool:
    ref = serve["spec"].get("model") or {}
    if ref.get("trainJob") is not None:
        return bool(ref["trainJob"] == job["metadata"]["name"])
    model = (job["spec"].get("output") or {}).get("model")
    return model is not None and ref.get("name") == model and ref.get("version") is None


def _state(status: Object) -> tuple[str, str, Any]:
    return phase(status), reason(status), status.get("digest")


def _newest(status: Object) -> Mapping[str, Any] | None:
    return next(iter(reversed(status.get("history") or [])), None)


def _failing(status: Object) -> bool:
    progressing = conditions.find(status.get("conditions"), "Progressing") or {}
    return progressing.get("status") == "False" and progressing.get("reason") != UP_TO_DATE
