"""The condition `ModelResolved` and the steps towards it: a pure function, executed with the rest of the plan.

A ModelServe that follows a model's name checks the store once for each generation, in addition to the statuses of
TrainJobs: a deleted TrainJob may have published a newer version. Meanwhile the known version is served.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from trainserve.api.messages import Resolved
from trainserve.api.modelserve import ModelRef, ModelServeSpec
from trainserve.api.reasons import Reason
from trainserve.operator import asking, conditions, pods, times
from trainserve.operator.conditions import Condition
from trainserve.operator.modelserve import builders, health
from trainserve.operator.modelserve.observed import Observed
from trainserve.operator.modelserve.resolve import Unresolved, answer_of, published, resolve
from trainserve.operator.modelserve.version import Version
from trainserve.operator.objects import Object
from trainserve.operator.plan import Delete
from trainserve.operator.record import Digests
from trainserve.operator.settings import Settings
from trainserve.operator.store import StoreRoot

PROVISIONAL = "Provisional"
"""Reason of ModelResolved=True while it is not known yet whether the store has a newer version."""
CHANGED = Reason.DIGEST_MISMATCH
"""Reason of ModelResolved=False if the store's content under a version number differs from what was published."""
ASK_AGAIN = (timedelta(seconds=5), timedelta(minutes=5))
"""Shortest and longest pause before the store is queried again; it grows with the time already waited."""


@dataclass
class Resolution:
    """The version to serve, if it is known, and the objects to create and delete in this step."""

    condition: Condition
    version: Version | None = None
    create: list[Object] = field(default_factory=list)
    delete: list[Delete] = field(default_factory=list)
    requeue_after: float | None = None
    passed_over: list[str] = field(default_factory=list)
    """Entries of the store that are not versions, reported while the pod that found them exists."""


def plan_resolution(observed: Observed, spec: ModelServeSpec, settings: Settings, now: datetime) -> Resolution:
    """Return the version that `spec` refers to, or the next step towards resolving it; `spec` is the parsed one."""
    ref, name, children, jobs = spec.model, observed.identity.name, observed.children, observed.jobs
    known = _Known(settings.store, observed.identity.namespace, observed.digests)
    asked = _Asked.of(observed, ref, known)
    served = [version for version in children.versions() if settings.store.path_of(version.uri) is not None]
    refused = {version: why for version in (*published(jobs), *served) if (why := known.objection(version)) is not None}
    found = resolve(name, ref, jobs, served, asked.answer, refused)
    if isinstance(found, Unresolved):
        resolution = Resolution(_unresolved(found, asked))
        if found.ask_store:
            _ask_store(resolution, observed, spec, asked, settings, now)
        return resolution
    if ref.uri is None and found in refused:
        return Resolution(Condition("ModelResolved", "False", *refused[found]))
    said = "; ".join([f"{found} ({found.digest})", *_passed_over(ref, found, refused), *asked.passed_over])
    if _needs_no_store(ref) or asked.settled:
        resolution = Resolution(Condition("ModelResolved", "True", "Resolved", said), found)
        resolution.passed_over = asked.passed_over
        if asked.recorded and builders.deployment_name(name, found) in children.deployments:
            # From now on the Deployment records the version, and the status that the store was queried.
            resolution.delete += [Delete("Pod", resolver) for resolver in children.resolvers]
        return resolution
    waiting = f"; the store cannot be asked for a newer one: {asked.failure}" if asked.failure else "; asking the store"
    resolution = Resolution(Condition("ModelResolved", "True", PROVISIONAL, said + waiting), found)
    _ask_store(resolution, observed, spec, asked, settings, now)
    return resolution


def _passed_over(ref: ModelRef, found: Version, refused: Mapping[Version, health.Trouble]) -> Iterable[str]:
    """Yield a message for each newer version of a followed model that is refused."""
    for version, why in refused.items():
        if version.model == ref.name and ref.version is None and (version.number or 0) > (found.number or 0):
            yield f"passed over: {why.message}"


@dataclass(frozen=True)
class _Known:
    """The location of a namespace's versions in the store, and the digests with which they were published."""

    store: StoreRoot
    namespace: str
    digests: Digests

    def objection(self, version: Version) -> health.Trouble | None:
        """Return why a version is refused; None if it is accepted."""
        if not self.store.is_at(version.uri, self.namespace, version.model, version.number or 0):
            place = f"{self.store.public}/{self.namespace}/{version.model}"
            return health.Trouble("NotInStore", f"{version} is reported at {version.uri}, which is not in {place}")
        expected = self.digests(version.model, version.number or 0)
        if expected in (None, version.digest):
            return None
        return health.Trouble(CHANGED, f"{version} was published as {expected}, found {version.digest}")


@dataclass(frozen=True)
class _Asked:
    """The state of this generation's query to the store."""

    pod: Object | None
    ended: Mapping[str, Any] | None
    answer: Version | Unresolved | None
    trouble: health.Trouble | None
    before: Mapping[str, Any] | None
    """The previous condition `ModelResolved`, if it is for the same generation."""

    @classmethod
    def of(cls, observed: Observed, ref: ModelRef, known: _Known) -> _Asked:
        pod = observed.children.resolvers.get(builders.resolver_name(observed.raw))
        ended = asking.end_of(pod) if pod else None
        answer = answer_of(pods.message(ended), str(ref.name)) if ended else None
        if isinstance(answer, Version) and (why := known.objection(answer)) is not None:
            answer = Unresolved(why.reason, why.message, ask_store=True)
        before = conditions.find(observed.status.get("conditions"), "ModelResolved")
        same = before is not None and before.get("observedGeneration") == observed.identity.generation
        return cls(
            pod=pod,
            ended=ended,
            answer=answer,
            trouble=health.why_not_running(pod, asking.CONTAINER) if pod and not ended else None,
            before=before if same else None,
        )

    @property
    def settled(self) -> bool:
        """Whether the query to the store has a final result."""
        if self.answer is not None:
            return isinstance(self.answer, Version) or self.answer.reason not in (Reason.STORE_ERROR, CHANGED)
        return self.recorded

    @property
    def recorded(self) -> bool:
        """Whether the stored status already reports the result: not every pass writes the status."""
        return self.before is not None and self.before["reason"] == "Resolved"

    @property
    def passed_over(self) -> list[str]:
        """Messages about entries of the store that are not versions, as the resolver pod reports them."""
        said = pods.message(self.ended) if self.ended else None
        told = said.passed_over if isinstance(said, Resolved) else None
        return [f"passed over: {each}" for each in told or []]

    @property
    def failure(self) -> str | None:
        if isinstance(self.answer, Unresolved):
            return self.answer.message
        return self.trouble.message if self.trouble else None


def _needs_no_store(ref: ModelRef) -> bool:
    return ref.name is None or ref.version is not None


def _unresolved(found: Unresolved, asked: _Asked) -> Condition:
    if (
        found.reason == "Resolving"
        and asked.before is not None
        and asked.before["reason"] in {*asking.REASONS, CHANGED}
    ):
        # While the store is queried again, the last answer is more useful than "Resolving".
        return Condition("ModelResolved", "False", asked.before["reason"], asked.before["message"])
    if found.reason == "Resolving" and asked.trouble is not None:
        return Condition("ModelResolved", "False", asked.trouble.reason, f"{found.message}: {asked.trouble.message}")
    return Condition("ModelResolved", "False", found.reason, found.message)


def _ask_store(
    resolution: Resolution,
    observed: Observed,
    spec: ModelServeSpec,
    asked: _Asked,
    settings: Settings,
    now: datetime,
) -> None:
    own = builders.resolver_name(observed.raw)
    others = [name for name in observed.children.resolvers if name != own]
    resolution.delete += [Delete("Pod", name) for name in others]
    if asked.pod is None:
        resolution.create.append(builders.resolver_pod(observed.raw, spec, settings))
    elif asked.ended is not None and not pods.deleting(asked.pod):
        finished = times.from_text(asked.ended["finishedAt"])
        since = times.from_text(asked.before["lastTransitionTime"]) if asked.before else finished
        pause = min(max(finished - since, ASK_AGAIN[0]), ASK_AGAIN[1])
        if left := times.left(finished, pause, now):
            resolution.requeue_after = left.total_seconds()
        else:
            resolution.delete.append(Delete("Pod", asked.pod["metadata"]["name"]))
