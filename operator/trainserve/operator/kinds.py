"""What a reconciled kind consists of: whom to ask about it, and what to do next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Protocol

from trainserve.operator.conditions import Condition
from trainserve.operator.plan import Object, Plan
from trainserve.operator.poller import Target
from trainserve.operator.transition import Transition

Answers = Mapping[str, dict[str, Any]]
"""The latest answers of pods, by the pod's uid."""


class Kind(Protocol):
    """One of our kinds, as the reconciler sees it. All but `reported`, which counts, are pure."""

    name: str

    def targets(self, owner: Object, children: list[Object], answers: Answers) -> dict[str, Target]:
        """Pods to ask, by uid."""

    def unseen(self, owner: Object, children: list[Object]) -> list[str]:
        """Names of pods that the status counts on and that are not among the children: they are gone, or somebody took
        off the label by which the operator lists and watches pods."""

    def plan(self, owner: Object, children: list[Object], answers: Answers, now: datetime) -> Plan:
        """The next step."""

    def blocked(self, owner: Object, reason: str, message: str) -> list[Condition]:
        """What holds while a child cannot be made, for that reason."""

    def phase(self, conditions: Iterable[Mapping[str, Any]]) -> str:
        """The one word for these conditions."""

    def transition(self, before: Object, after: Object) -> Transition | None:
        """What the log says of a change of the status, if it is worth a line."""

    def reported(self, owner: Object, status: Object, now: datetime) -> None:
        """The status was written; `owner` is the object as it was before."""
