"""The result that a pure planning function returns to the reconciler, which alone does I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from trainserve.operator.conditions import Condition
from trainserve.operator.objects import Object
from trainserve.operator.statuses import Truth


@dataclass(frozen=True)
class Delete:
    """Deletion of one child. With `force`, it does not wait for a node that may never respond again."""

    kind: str
    name: str
    force: bool = False


@dataclass(frozen=True)
class Event:
    """A Kubernetes event. `key` makes it unique within the object, so that it is posted once."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str
    key: str


@dataclass
class Plan:
    """Everything one reconcile does, in this order: create, apply, delete, record, status, events."""

    status: Object
    create: list[Object] = field(default_factory=list)
    """Objects that never change afterwards; one that exists already must have the same owner."""
    apply: list[Object] = field(default_factory=list)
    """Objects to bring to this state by server-side apply."""
    delete: list[Delete] = field(default_factory=list)
    record: list[Object] = field(default_factory=list)
    """Entries to add to ConfigMaps that have no owner, once the rest is done."""
    events: list[Event] = field(default_factory=list)
    requeue_after: float | None = None
    """Seconds until the next reconcile if nothing changes before; None to wait for a change."""
    urgent: bool = False
    """Whether to write the status now, instead of combining it with changes that follow within a second."""


class Planner:
    """Base of the planners, each for one pass over one object; collects its conditions and the plan."""

    def __init__(self) -> None:
        self.conditions: list[Condition] = []
        self.result = Plan(status={})

    def _observe(self, kind: str, status: Truth, reason: str, message: str) -> None:
        self.conditions.append(Condition(kind, status, reason, message))

    def _tell(self, reason: str, message: str, key: str) -> None:
        self.result.events.append(Event("Normal", reason, message, key))

    def _warn(self, reason: str, message: str, key: str) -> None:
        self.result.events.append(Event("Warning", reason, message, key))
