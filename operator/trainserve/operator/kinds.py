"""The interface between the reconciler and a kind: gather all observations once, then plan from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Protocol, TypeVar

from trainserve.operator.conditions import Condition
from trainserve.operator.objects import Object
from trainserve.operator.plan import Plan
from trainserve.operator.poller import Target
from trainserve.operator.transition import Transition

Answers = Mapping[str, dict[str, Any]]
"""The latest answers of pods, by the pod's uid."""


Seen = TypeVar("Seen")
"""Input of one pass over an object: the kind's own `Observed`."""


class Kind(Protocol[Seen]):
    """TrainJob or ModelServe, as the reconciler sees it. All methods but `reported`, which counts, are pure."""

    name: str

    def observe(self, owner: Object, children: list[Object], answers: Answers) -> Seen:
        """Gather and parse everything that the pass needs about `owner`, once at its start."""

    def targets(self, observed: Seen) -> dict[str, Target]:
        """Return the endpoints to poll, by the pod's uid."""

    def unseen(self, observed: Seen) -> list[str]:
        """Return the names of pods that the status lists and that are not among the children: they no longer exist, or
        a user removed the label by which the operator lists and watches pods."""

    def plan(self, observed: Seen, now: datetime) -> Plan:
        """Decide the next step."""

    def blocked(self, owner: Object, reason: str, message: str) -> list[Condition]:
        """Return the conditions that hold while a child cannot be created for this reason."""

    def phase(self, conditions: Iterable[Mapping[str, Any]]) -> str:
        """Summarize the conditions in one word."""

    def transition(self, before: Object, after: Object) -> Transition | None:
        """Return the log line for a change of the status, or None if it is not worth one."""

    def reported(self, owner: Object, status: Object, now: datetime) -> None:
        """Update metrics after `status` was written at `now`; `owner` is the object before that write."""
