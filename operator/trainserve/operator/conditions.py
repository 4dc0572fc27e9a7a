"""Status conditions by the rules of Kubernetes' metav1.Condition, as pure functions on lists of dictionaries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from trainserve.operator import statuses, times
from trainserve.operator.said import shortened
from trainserve.operator.statuses import Truth

MAX_MESSAGE = 2048
"""Maximum length of a message in characters: a status is read by people and stored in etcd."""


@dataclass(frozen=True)
class Condition:
    """A condition as observed now, without the time and generation that `merge` adds."""

    type: str
    status: Truth
    reason: str
    message: str
    """Text for people; never empty: API server 1.20 treats an empty string as null and refuses it."""


def merge(
    existing: Iterable[Mapping[str, Any]] | None, observed: Iterable[Condition], generation: int, now: datetime
) -> list[statuses.Condition]:
    """Return the existing conditions updated with the observed ones.

    `lastTransitionTime` changes only if `status` changed; conditions that were not observed this time stay unchanged.
    New conditions are appended in the order observed, so the position of each remains stable for readers.
    """
    merged = {condition["type"]: cast(statuses.Condition, dict(condition)) for condition in existing or []}
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
    """Return the condition of type `kind`, or None."""
    return next((condition for condition in conditions or [] if condition["type"] == kind), None)


def reason(conditions: Iterable[Mapping[str, Any]] | None, kind: str) -> str | None:
    """Return the reason of the condition of type `kind`; None if it does not exist."""
    return (find(conditions, kind) or {}).get("reason")


def is_true(conditions: Iterable[Mapping[str, Any]] | None, kind: str) -> bool:
    """Return whether the condition of type `kind` exists and is true."""
    condition = find(conditions, kind)
    return condition is not None and condition["status"] == "True"
