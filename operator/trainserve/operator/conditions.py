"""Status conditions by the rules of Kubernetes' metav1.Condition, as pure functions on lists of dictionaries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from trainserve.operator import times
from trainserve.operator.said import shortened

Truth = Literal["True", "False", "Unknown"]
MAX_MESSAGE = 2048
"""Characters of a message that are kept: a status is read by people and stored in etcd."""


@dataclass(frozen=True)
class Condition:
    """What holds now, without the times that Kubernetes' form adds."""

    type: str
    status: Truth
    reason: str
    message: str
    """For people; never empty: an API server 1.20 takes an empty string for null and refuses it."""


def merge(
    existing: Iterable[Mapping[str, Any]] | None, observed: Iterable[Condition], generation: int, now: datetime
) -> list[dict[str, Any]]:
    """Put what was observed into the existing list.

    `lastTransitionTime` moves only where `status` changed; conditions that nobody observed this time stay as they are.
    New ones are appended in the order observed, so a reader finds each where it was.
    """
    merged = {condition["type"]: dict(condition) for condition in existing or []}
    for condition in observed:
        before = merged.get(condition.type)
        unchanged = before is not None and before["status"] == condition.status
        merged[condition.type] = {
            "type": condition.type,
            "status": condition.status,
            "reason": condition.reason,
            "message": shortened(condition.message, MAX_MESSAGE),
            "lastTransitionTime": before["lastTransitionTime"] if before and unchanged else times.to_text(now),
            "observedGeneration": generation,
        }
    return list(merged.values())


def find(conditions: Iterable[Mapping[str, Any]] | None, kind: str) -> Mapping[str, Any] | None:
    """The condition of that type, if there is one."""
    return next((condition for condition in conditions or [] if condition["type"] == kind), None)


def is_true(conditions: Iterable[Mapping[str, Any]] | None, kind: str) -> bool:
    """Whether the condition exists and holds."""
    condition = find(conditions, kind)
    return condition is not None and condition["status"] == "True"
