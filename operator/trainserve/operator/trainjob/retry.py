"""The decision whether, and when, another attempt follows a failed one.

- A fault of the cluster restarts the gang and uses up no retry; the pause doubles with each consecutive fault. A taken
  port is reported by the run itself, so it counts as such a fault only `PORTS_TRIED` times, and then as any other
  failure.
- A deterministic failure (a gate, parity, bad data) fails the job at once: the same seed gives the same result.
- Any other failure uses up a retry, after a pause that doubles each time. If the same error occurs twice in a row, the
  second time within a minute of the attempt's start, the job fails early.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile

from trainserve.api.reasons import Reason, Retry, retry_after
from trainserve.operator import times
from trainserve.operator.statuses import Attempt

BACKOFF_BASE = timedelta(seconds=2)
RESTART_BASE = timedelta(seconds=1)
BACKOFF_LIMIT = timedelta(minutes=5)
AT_ONCE = timedelta(seconds=60)
PORTS_TRIED = 5
"""Number of ports, out of thousands, that may be taken in the attempts of one job without using up a retry."""


@dataclass(frozen=True)
class Again:
    """Another attempt, due at this instant."""

    at: datetime


@dataclass(frozen=True)
class GiveUp:
    """No further attempt; `because` adds a reason to the failure itself, and is empty if the failure is enough."""

    because: str


def decide(attempts: Sequence[Attempt], retries: int) -> Again | GiveUp:
    """Decide how a job continues from its finished attempts, the last of which has failed."""
    last = attempts[-1]
    ended = times.from_text(last["completionTime"])
    counted = _counted(attempts)
    if _is_free(last) and last not in counted:
        streak = len(list(takewhile(_is_free, reversed(attempts))))
        return Again(ended + min(RESTART_BASE * 2 ** min(streak - 1, 20), BACKOFF_LIMIT))
    if retry_after(last["reason"]) is Retry.NEVER:
        return GiveUp("")
    if len(counted) > retries:
        return GiveUp(f"{len(counted)} attempts failed (policy.retries: {retries})" if retries else "")
    if len(counted) > 1 and _same_error(counted[-2], last) and ended - times.from_text(last["startTime"]) <= AT_ONCE:
        return GiveUp(f"attempts {counted[-2]['number']} and {last['number']} failed at once with the same error")
    return Again(ended + min(BACKOFF_BASE * 2 ** min(len(counted) - 1, 20), BACKOFF_LIMIT))


def _counted(attempts: Sequence[Attempt]) -> list[Attempt]:
    """Return the attempts that use up a retry."""
    taken = [attempt for attempt in attempts if attempt.get("reason") == Reason.PORT_TAKEN][PORTS_TRIED:]
    return [attempt for attempt in attempts if not _is_free(attempt) or attempt in taken]


def _is_free(attempt: Attempt) -> bool:
    return retry_after(attempt.get("reason")) is Retry.FREE


def _same_error(one: Attempt, other: Attempt) -> bool:
    return all(one.get(field) == other.get(field) for field in ("reason", "exitCode", "message"))
