"""The reconciler's interface to ModelServe."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from typing_extensions import override

from trainserve.operator import conditions, objects, record
from trainserve.operator.blocked import Leftover
from trainserve.operator.cache import Cache
from trainserve.operator.conditions import Condition
from trainserve.operator.counters import Counters
from trainserve.operator.discovery import Discovery
from trainserve.operator.kinds import Answers, Kind
from trainserve.operator.modelserve import health, transition
from trainserve.operator.modelserve.observed import Observed
from trainserve.operator.modelserve.plan import phase, plan
from trainserve.operator.objects import Object
from trainserve.operator.plan import Plan
from trainserve.operator.poller import Target
from trainserve.operator.settings import Settings
from trainserve.operator.transition import Transition


class ModelServes(Kind[Observed]):
    """The pure functions of this package, bound to the operator's settings and its view of the cluster."""

    name = "ModelServe"

    def __init__(self, settings: Settings, cache: Cache, discovery: Discovery, metrics: Counters) -> None:
        self._settings, self._cache, self._discovery, self._metrics = settings, cache, discovery, metrics

    @override
    def observe(self, owner: Object, children: list[Object], answers: Answers) -> Observed:
        namespace = owner["metadata"]["namespace"]
        return Observed.of(
            owner,
            children,
            answers,
            jobs=self._cache.in_namespace("TrainJob", namespace),
            digests=record.digests(self._cache, namespace),
            budgets=self._discovery.version("PodDisruptionBudget"),
        )

    @override
    def targets(self, observed: Observed) -> dict[str, Target]:
        return health.targets(observed.children.serving, observed.answers)

    @override
    def unseen(self, observed: Observed) -> list[str]:
        return []  # a required pod that is not cached is created, and the API server then reports that it exists

    @override
    def plan(self, observed: Observed, now: datetime) -> Plan:
        return plan(observed, self._settings, now)

    @override
    def blocked(self, owner: Object, reason: str, message: str) -> list[Condition]:
        waiting = reason == Leftover.reason
        observed = [
            Condition("Accepted", "True", "Accepted", "the spec is valid"),
            Condition("Progressing", "True" if waiting else "False", reason, message),
        ]
        if not conditions.is_true(objects.status(owner).get("conditions"), "Ready"):
            observed.append(Condition("Ready", "False", reason, message))
        return observed

    @override
    def phase(self, conditions: Iterable[Mapping[str, Any]]) -> str:
        return phase(conditions)

    @override
    def transition(self, before: Object, after: Object) -> Transition | None:
        return transition.transition(before, after)

    @override
    def reported(self, owner: Object, status: Object, now: datetime) -> None:
        before = objects.status(owner)
        if (outcome := transition.rollout(before, status)) is not None:
            self._metrics.rollouts.labels(outcome).inc()
        if (newest := transition.took_traffic(before, status)) is not None:
            jobs = self._cache.in_namespace("TrainJob", owner["metadata"]["namespace"])
            seconds = transition.publish_to_serving(owner, newest["digest"], jobs, now)
            if seconds is not None:
                self._metrics.publish_to_serving.observe(seconds)
