"""TrainJob as the reconciler sees it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from trainserve.operator import conditions, record, times
from trainserve.operator.cache import Cache
from trainserve.operator.conditions import Condition
from trainserve.operator.counters import Counters
from trainserve.operator.kinds import Answers
from trainserve.operator.plan import Object, Plan
from trainserve.operator.poller import Target
from trainserve.operator.settings import Settings
from trainserve.operator.trainjob import progress, recorded, state, transition
from trainserve.operator.trainjob.names import place_of
from trainserve.operator.trainjob.plan import plan
from trainserve.operator.transition import Transition


class TrainJobs:
    """Binds the pure functions of this room to the operator's settings."""

    name = "TrainJob"

    def __init__(self, settings: Settings, cache: Cache, metrics: Counters) -> None:
        self._settings, self._cache, self._metrics = settings, cache, metrics

    def targets(self, owner: Object, children: list[Object], answers: Answers) -> dict[str, Target]:
        """Rank 0 of the running attempt."""
        return progress.targets(owner, children)

    def unseen(self, owner: Object, children: list[Object]) -> list[str]:
        """The latest attempt's pods that are not among the children, until the run has ended."""
        known = recorded.status(owner)
        if any(conditions.is_true(known.get("conditions"), kind) for kind in ("Complete", "Failed")):
            return []
        seen = {child["metadata"]["name"] for child in children if child["kind"] == "Pod"}
        # Anybody with the right to may have edited the status: no name is asked for that is not a worker's.
        name = owner["metadata"]["name"]
        latest = {pod for attempt in (known.get("attempts") or [])[-1:] for pod in attempt["pods"]}
        return sorted(pod for pod in latest - seen if place_of(name, pod) is not None)

    def plan(self, owner: Object, children: list[Object], answers: Answers, now: datetime) -> Plan:
        """The next step of one run."""
        planned = plan(owner, children, progress.latest(answers), self._settings, now)
        planned.record = self._unrecorded(owner, planned.status)
        return planned

    def _unrecorded(self, owner: Object, status: Object) -> list[Object]:
        """What the run has published, unless it is recorded already."""
        model, artifact = (owner["spec"].get("output") or {}).get("model"), status.get("artifact")
        if not (model and artifact and conditions.is_true(status.get("conditions"), "Complete")):
            return []
        namespace = owner["metadata"]["namespace"]
        if not self._settings.store.is_at(artifact["uri"], namespace, model, artifact["version"]):
            return []  # the store was another one then
        known = record.digests(self._cache, namespace)
        return record.missing(known, namespace, model, artifact["version"], artifact["digest"])

    def blocked(self, owner: Object, reason: str, message: str) -> list[Condition]:
        """There is no pod that a node could be found for."""
        accepted = Condition("Accepted", "True", "Accepted", "the spec is valid")
        return [accepted, Condition("Scheduled", "False", reason, message)]

    def phase(self, conditions: Iterable[Mapping[str, Any]]) -> str:
        """See `state.phase`."""
        return state.phase(conditions)

    def transition(self, before: Object, after: Object) -> Transition | None:
        """See `transition.transition`."""
        return transition.transition(before, after)

    def reported(self, owner: Object, status: Object, now: datetime) -> None:
        """Count what is new: how long the job waited, once it is first seen to run or to have run; how attempts ended;
        what was published."""
        before = owner.get("status") or {}
        if not transition.has_run(before) and transition.has_run(status):
            created = times.from_text(owner["metadata"]["creationTimestamp"])
            self._metrics.pending.observe((now - created).total_seconds())
        for reason in transition.ended(before, status):
            self._metrics.attempts.labels(reason).inc()
        if transition.published(before, status):
            self._metrics.published.inc()
