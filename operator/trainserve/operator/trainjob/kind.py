"""The reconciler's interface to TrainJob."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from typing_extensions import override

from trainserve.operator import conditions, objects, record, times
from trainserve.operator.cache import Cache
from trainserve.operator.conditions import Condition
from trainserve.operator.counters import Counters
from trainserve.operator.kinds import Answers, Kind
from trainserve.operator.objects import Object
from trainserve.operator.plan import Plan
from trainserve.operator.poller import Target
from trainserve.operator.settings import Settings
from trainserve.operator.trainjob import progress, state, transition
from trainserve.operator.trainjob.names import place_of
from trainserve.operator.trainjob.observed import Observed
from trainserve.operator.trainjob.plan import plan
from trainserve.operator.transition import Transition


class TrainJobs(Kind[Observed]):
    """The pure functions of this package, bound to the operator's settings."""

    name = "TrainJob"

    def __init__(self, settings: Settings, cache: Cache, metrics: Counters) -> None:
        self._settings, self._cache, self._metrics = settings, cache, metrics

    @override
    def observe(self, owner: Object, children: list[Object], answers: Answers) -> Observed:
        return Observed.of(owner, children, progress.latest(answers))

    @override
    def targets(self, observed: Observed) -> dict[str, Target]:
        return progress.targets(observed)

    @override
    def unseen(self, observed: Observed) -> list[str]:
        if any(conditions.is_true(observed.status.get("conditions"), kind) for kind in ("Complete", "Failed")):
            return []
        # Users with write access may have edited the status, so only names of workers are looked up.
        latest = {pod for attempt in (observed.status.get("attempts") or [])[-1:] for pod in attempt["pods"]}
        return sorted(pod for pod in latest - observed.names if place_of(observed.identity.name, pod) is not None)

    @override
    def plan(self, observed: Observed, now: datetime) -> Plan:
        planned = plan(observed, self._settings, now)
        planned.record = self._unrecorded(observed, planned.status)
        return planned

    def _unrecorded(self, observed: Observed, status: Object) -> list[Object]:
        """Return the record's entry for the version that the run has published; empty if it is already recorded."""
        model, artifact = observed.outline.model, status.get("artifact")
        if not (model and artifact and conditions.is_true(status.get("conditions"), "Complete")):
            return []
        namespace = observed.identity.namespace
        if not self._settings.store.is_at(artifact["uri"], namespace, model, artifact["version"]):
            return []  # the version was published to another store
        known = record.digests(self._cache, namespace)
        return record.missing(known, namespace, model, artifact["version"], artifact["digest"])

    @override
    def blocked(self, owner: Object, reason: str, message: str) -> list[Condition]:
        accepted = Condition("Accepted", "True", "Accepted", "the spec is valid")
        return [accepted, Condition("Scheduled", "False", reason, message)]

    @override
    def phase(self, conditions: Iterable[Mapping[str, Any]]) -> str:
        return state.phase(conditions)

    @override
    def transition(self, before: Object, after: Object) -> Transition | None:
        return transition.transition(before, after)

    @override
    def reported(self, owner: Object, status: Object, now: datetime) -> None:
        before = objects.status(owner)
        if not transition.has_run(before) and transition.has_run(status):
            created = times.from_text(owner["metadata"]["creationTimestamp"])
            self._metrics.pending.observe((now - created).total_seconds())
        for reason in transition.ended(before, status):
            self._metrics.attempts.labels(reason).inc()
        if transition.published(before, status):
            self._metrics.published.inc()
