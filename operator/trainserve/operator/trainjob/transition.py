"""Changes between two statuses of a TrainJob, for the log and the counters, as pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainserve.operator import conditions
from trainserve.operator.objects import Object
from trainserve.operator.transition import Transition, phase

_BEHIND = {
    "Complete": "Complete",
    "Failed": "Failed",
    "Refused": "Accepted",
    "Running": "Running",
    "Restarting": "Running",
    "Unschedulable": "Scheduled",
}
"""Condition that determines a phase; for the other phases, see `reason`."""


def transition(before: Object, after: Object) -> Transition | None:
    """Return the transition, or None if it is not worth a log line. For a new attempt, its reason is that for which the
    previous one ended."""
    state, known = _state(after), _state(before)
    if state == known:
        return None
    now, because, attempt = state
    if attempt is not None and attempt != known[2] and now not in ("Complete", "Failed"):
        because = _ends(after).get(attempt - 1, because)
    details = {"attempt": attempt} if attempt is not None else {}
    if (artifact := after.get("artifact")) is not None and now == "Complete":
        details |= {"version": artifact["version"]}
    return Transition(known[0], now, because, details)


def reason(status: Mapping[str, Any]) -> str:
    """Return the reason of the condition that determines the phase; empty if there is none."""
    known = status.get("conditions")
    behind = _BEHIND.get(phase(status))
    if behind is None:
        # The job waits for its pods to be scheduled, and after that for them to start.
        scheduled = conditions.reason(known, "Scheduled")
        behind = "Running" if scheduled in (None, "Pending", "Scheduled") else "Scheduled"
    return conditions.reason(known, behind) or ""


def ended(before: Object, after: Object) -> list[str]:
    """Return the reasons of the attempts that have ended in `after` and not in `before`."""
    known = _ends(before)
    return [reason for number, reason in _ends(after).items() if number not in known]


def published(before: Object, after: Object) -> bool:
    """Return whether `after` reports a newly published version."""
    return after.get("artifact") is not None and after["artifact"] != before.get("artifact")


def has_run(status: Object) -> bool:
    """Return whether the job runs or has run."""
    known = status.get("conditions")
    attempts = status.get("attempts") or []
    again = len(attempts) > 1 or any("completionTime" in each for each in attempts)
    return again or any(conditions.is_true(known, kind) for kind in ("Running", "Complete", "Failed"))


def _state(status: Object) -> tuple[str, str, int | None]:
    attempts = status.get("attempts") or []
    return phase(status), reason(status), attempts[-1]["number"] if attempts else None


def _ends(status: Object) -> dict[int, str]:
    attempts = status.get("attempts") or []
    return {each["number"]: each.get("reason") or "" for each in attempts if "completionTime" in each}
