"""What a pure planning function hands to the one place that does I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Object = dict[str, Any]
"""A Kubernetes object as JSON."""


@dataclass(frozen=True)
class Delete:
    """Delete one child. `force` does not wait for a node that may never answer again."""

    kind: str
    name: str
    force: bool = False


@dataclass(frozen=True)
class Event:
    """Something a user would ask about. `key` makes it unique within the object, so it is told once."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str
    key: str


@dataclass
class Plan:
    """Everything one reconcile does, in this order: create, apply, delete, record, status, events."""

    status: Object
    create: list[Object] = field(default_factory=list)
    """Objects that never change afterwards; one that exists already must be ours."""
    apply: list[Object] = field(default_factory=list)
    """Objects brought to this state by server-side apply."""
    delete: list[Delete] = field(default_factory=list)
    record: list[Object] = field(default_factory=list)
    """ConfigMaps of nobody's to which this is added, once the rest is done."""
    events: list[Event] = field(default_factory=list)
    requeue_after: float | None = None
    """Seconds until the next look, if nothing changes before."""
    urgent: bool = False
    """Whether the status is worth a write of its own now, rather than together with what follows within a second."""
