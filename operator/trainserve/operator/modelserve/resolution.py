"""The condition `ModelResolved` and what it takes to get there: a pure function, carried out with the rest of the plan.

A ModelServe that follows a name asks the store once for each generation, beside what TrainJobs say: one that is gone
may have published a newer version. What is known serves meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from trainserve.api.modelserve import ModelRef, ModelServeSpec
from trainserve.operator import conditions, pods, times
from trainserve.operator.conditions import Condition
from trainserve.operator.modelserve import builders, health
from trainserve.operator.modelserve.children import Children
from trainserve.operator.modelserve.resolve import STORE_REASONS, Unresolved, answer_of, resolve, resolver_end
from trainserve.operator.modelserve.version import Version
from trainserve.operator.plan import Delete, Object
from trainserve.operator.settings import Settings

PROVISIONAL = "Provisional"
"""Reason of ModelResolved=True while the store has not said yet whether it has a newer version."""
ASK_AGAIN = (timedelta(seconds=5), timedelta(minutes=5))
"""Shortest and longest pause before the store is asked again; it grows with the time already waited."""


@dataclass
class Resolution:
    """The version that is meant, if it is known, and the next step."""

    condition: Condition
    version: Version | None = None
    create: list[Object] = field(default_factory=list)
    delete: list[Delete] = field(default_factory=list)
    requeue_after: float | None = None


def plan_resolution(
    serve: Object, spec: ModelServeSpec, jobs: Iterable[Object], children: Children, settings: Settings, now: datetime
) -> Resolution:
    """`jobs` are the namespace's TrainJobs."""
    ref = spec.model
    asked = _Asked.of(serve, ref, children)
    metadata = serve["metadata"]
    served = [version for version in children.versions() if settings.store.holds(version.uri, metadata["namespace"])]
    found = resolve(metadata["name"], ref, jobs, served, asked.answer)
    if isinstance(found, Unresolved):
        resolution = Resolution(_unresolved(found, asked))
        if found.ask_store:
            _ask_store(resolution, serve, spec, asked, children, settings, now)
        return resolution
    if ref.uri is None and settings.store.path_of(found.uri) is None:
        outside = f"{found} is at {found.uri}, not in {settings.store.public}"
        return Resolution(Condition("ModelResolved", "False", "NotInStore", outside))
    said = f"{found} ({found.digest})"
    if _needs_no_store(ref) or asked.settled:
        resolution = Resolution(Condition("ModelResolved", "True", "Resolved", said), found)
        if asked.recorded and builders.deployment_name(metadata["name"], found) in children.deployments:
            # The Deployment remembers the version from here on, and the status that the store was asked.
            resolution.delete += [Delete("Pod", name) for name in children.resolvers]
        return resolution
    waiting = f"; the store cannot be asked for a newer one: {asked.failure}" if asked.failure else "; asking the store"
    resolution = Resolution(Condition("ModelResolved", "True", PROVISIONAL, said + waiting), found)
    _ask_store(resolution, serve, spec, asked, children, settings, now)
    return resolution


@dataclass(frozen=True)
class _Asked:
    """What became of asking the store for this generation."""

    pod: Object | None
    ended: Mapping[str, Any] | None
    answer: Version | Unresolved | None
    trouble: health.Trouble | None
    before: Mapping[str, Any] | None
    """The condition as it was, if it answered the same question."""

    @classmethod
    def of(cls, serve: Object, ref: ModelRef, children: Children) -> _Asked:
        pod = children.resolver(builders.resolver_name(serve))
        ended = resolver_end(pod) if pod else None
        before = conditions.find((serve.get("status") or {}).get("conditions"), "ModelResolved")
        same = before is not None and before.get("observedGeneration") == serve["metadata"].get("generation", 1)
        return cls(
            pod=pod,
            ended=ended,
            answer=answer_of(pods.message(ended), str(ref.name)) if ended else None,
            trouble=health.why_not_running(pod, "resolve") if pod and not ended else None,
            before=before if same else None,
        )

    @property
    def settled(self) -> bool:
        """Whether the store has said what its newest version is."""
        if self.answer is not None:
            return isinstance(self.answer, Version) or self.answer.reason != "StoreError"
        return self.recorded

    @property
    def recorded(self) -> bool:
        """Whether the status says so already: it is not written with every step."""
        return self.before is not None and self.before["reason"] == "Resolved"

    @property
    def failure(self) -> str | None:
        if isinstance(self.answer, Unresolved):
            return self.answer.message
        return self.trouble.message if self.trouble else None


def _needs_no_store(ref: ModelRef) -> bool:
    return ref.name is None or ref.version is not None


def _unresolved(found: Unresolved, asked: _Asked) -> Condition:
    if found.reason == "Resolving" and asked.before is not None and asked.before["reason"] in STORE_REASONS:
        # While the store is asked again, the last answer is worth more than that it is being asked.
        return Condition("ModelResolved", "False", asked.before["reason"], asked.before["message"])
    if found.reason == "Resolving" and asked.trouble is not None:
        return Condition("ModelResolved", "False", asked.trouble.reason, f"{found.message}: {asked.trouble.message}")
    return Condition("ModelResolved", "False", found.reason, found.message)


def _ask_store(
    resolution: Resolution,
    serve: Object,
    spec: ModelServeSpec,
    asked: _Asked,
    children: Children,
    settings: Settings,
    now: datetime,
) -> None:
    others = [name for name in children.resolvers if name != builders.resolver_name(serve)]
    resolution.delete += [Delete("Pod", name) for name in others]
    if asked.pod is None:
        resolution.create.append(builders.resolver_pod(serve, spec, settings))
    elif asked.ended is not None and not pods.deleting(asked.pod):
        finished = times.from_text(asked.ended["finishedAt"])
        since = times.from_text(asked.before["lastTransitionTime"]) if asked.before else finished
        pause = min(max(finished - since, ASK_AGAIN[0]), ASK_AGAIN[1])
        if finished + pause <= now:
            resolution.delete.append(Delete("Pod", asked.pod["metadata"]["name"]))
        else:
            resolution.requeue_after = (finished + pause - now).total_seconds()
