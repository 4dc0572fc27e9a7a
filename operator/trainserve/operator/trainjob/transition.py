"""What changed between two statuses of a TrainJob, as pure functions: for the log and for what is counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from trainserve.operator import conditions
from trainserve.operator.plan import Object
from trainserve.operator.transition import NEW, Transition

_BEHIND = {
    "Complete": "Complete",
    "Failed": "Failed",
    "Refused": "Accepted",
    "Running": "Running",
    "Restarting": "Running",
    "Unschedulable": "Scheduled",
}
"""The condition that a phase comes from; of the others, see `reason`."""


def transition(before: Object, after: Object) -> Transition | None:
    """The line that is worth writing, if there is one. An attempt that follows another has the reason for which that
    one ended."""
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


def phase(status: Object) -> str:
    """The phase, of an object without a status too."""
    return str(status.get("phase") or NEW)


def reason(status: Object) -> str:
    """The reason of the condition behind the phase; empty where there is none."""
    known: Iterable[Mapping[str, Any]] = status.get("conditions") or []
    behind = _BEHIND.get(phase(status))
    if behind is None:
        # What waits does so for its pods to be made, or else for them to start.
        scheduled = (conditions.find(known, "Scheduled") or {}).get("reason")
        behind = "Running" if scheduled in (None, "Pending", "Scheduled") else "Scheduled"
    return str((conditions.find(known, behind) or {}).get("reason") or "")


def ended(before: Object, after: Object) -> list[str]:
    """Reasons of the attempts whose end is new."""
    known = _ends(before)
    return [reason for number, reason in _ends(after).items() if number not in known]


def published(before: Object, after: Object) -> bool:
    """Whether a version is new."""
    return after.get("artifact") is not None and after["artifact"] != before.get("artifact")


def has_run(status: Object) -> bool:
    """Whether the job runs or has run."""
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
