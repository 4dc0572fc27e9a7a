"""The attempts that a status lists; their number is bounded, however often the cluster preempts pods."""

from __future__ import annotations

from collections.abc import Sequence

from trainserve.api.reasons import Reason, Retry, retry_after
from trainserve.operator.statuses import Attempt

LISTED = 20
NEWEST = 10
"""Number of latest attempts that are always listed, as is the first."""


def bounded(attempts: Sequence[Attempt]) -> tuple[list[Attempt], int]:
    """Return the attempts to list, and the number of those left out.

    Only faults of the cluster are left out: all other failures, and taken ports after the first few, count against
    `policy.retries`, which bounds them. Pods are listed for the latest attempt only; those of an earlier one were named
    <job>-<attempt>-<rank>.
    """
    candidates = [attempt for attempt in attempts[1:-NEWEST] if _is_fault_of_the_cluster(attempt.get("reason"))]
    left_out = candidates[: max(0, len(attempts) - LISTED)]
    listed = [attempt.copy() for attempt in attempts if attempt not in left_out]
    for attempt in listed[:-1]:
        attempt.pop("pods", None)
    return listed, len(left_out)


def _is_fault_of_the_cluster(reason: str | None) -> bool:
    return retry_after(reason) is Retry.FREE and reason != Reason.PORT_TAKEN
