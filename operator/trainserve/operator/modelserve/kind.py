"""ModelServe as the reconciler sees it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from trainserve.operator import conditions, record
from trainserve.operator.blocked import Leftover
from trainserve.operator.cache import Cache
from trainserve.operator.conditions import Condition
from trainserve.operator.counters import Counters
from trainserve.operator.discovery import Discovery
from trainserve.operator.kinds import Answers
from trainserve.operator.modelserve import health, transition
from trainserve.operator.modelserve.children import Children
from trainserve.operator.modelserve.plan import phase, plan
from trainserve.operator.plan import Object, Plan
from trainserve.operator.poller import Target
from trainserve.operator.settings import Settings
from trainserve.operator.transition import Transition


class ModelServes:
    """Binds the pure functions of this room to the operator's settings and its view of TrainJobs."""

    name = "ModelServe"

    def __init__(self, settings: Settings, cache: Cache, discovery: Discovery, metrics: Counters) -> None:
        self._settings, self._cache, self._discovery, self._metrics = settings, cache, discovery, metrics

    def targets(self, owner: Object, children: list[Object], answers: Answers) -> dict[str, Target]:
        """The probes of the serving pods."""
        return health.targets(Children.of(owner, children).serving, answers)

    def unseen(self, owner: Object, children: list[Object]) -> list[str]:
        """None: a pod that is needed and not known is created, and the API server then answers that it exists."""
        return []

    def plan(self, owner: Object, children: list[Object], answers: Answers, now: datetime) -> Plan:
        """The next step of one service."""
        namespace = owner["metadata"]["namespace"]
        jobs = self._cache.in_namespace("TrainJob", namespace)
        budgets = self._discovery.version("PodDisruptionBudget")
        return plan(
            owner, children, jobs, answers, self._settings, now, budgets, record.digests(self._cache, namespace)
        )

    def blocked(self, owner: Object, reason: str, message: str) -> list[Condition]:
        """Nothing gets on; what serves already goes on serving."""
        waiting = reason == Leftover.reason
        observed = [
            Condition("Accepted", "True", "Accepted", "the spec is valid"),
            Condition("Progressing", "True" if waiting else "False", reason, message),
        ]
        if not conditions.is_true((owner.get("status") or {}).get("conditions"), "Ready"):
            observed.append(Condition("Ready", "False", reason, message))
        return observed

    def phase(self, conditions: Iterable[Mapping[str, Any]]) -> str:
        """See `plan.phase`."""
        return phase(conditions)

    def transition(self, before: Object, after: Object) -> Transition | None:
        """See `transition.transition`."""
        return transition.transition(before, after)

    def reported(self, owner: Object, status: Object, now: datetime) -> None:
        """Count how a rollout ended, and how long a published version took to be served."""
        before = owner.get("status") or {}
        if (outcome := transition.rollout(before, status)) is not None:
            self._metrics.rollouts.labels(outcome).inc()
        if (newest := transition.took_traffic(before, status)) is not None:
            jobs = self._cache.in_namespace("TrainJob", owner["metadata"]["namespace"])
            seconds = transition.publish_to_serving(owner, newest["digest"], jobs, now)
            if seconds is not None:
                self._metrics.publish_to_serving.observe(seconds)
