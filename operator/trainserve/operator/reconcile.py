"""One reconcile: observe from the cache, plan, do what the plan says, write the status if it changed, tell events."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from trainserve.api.base import Conditions, StatusType
from trainserve.operator import cache, conditions, labels, pods, recorded
from trainserve.operator.api_error import ApiError
from trainserve.operator.blocked import Blocked, Changed, Leftover
from trainserve.operator.cache import Cache
from trainserve.operator.client import Client
from trainserve.operator.conditions import Condition
from trainserve.operator.kinds import Kind
from trainserve.operator.logs import about
from trainserve.operator.plan import Event, Object, Plan
from trainserve.operator.poller import Poller
from trainserve.operator.transition import tell
from trainserve.operator.workqueue import Key

logger = logging.getLogger(__name__)

STATUS_INTERVAL = 1.0
"""Seconds between two status writes of one object, unless the plan says it is urgent: a short job passes through its
states faster than anybody reads them, and a thousand of them share one API server."""

INTERNAL = "Internal"
"""Reason of Accepted=False while nothing can be planned for an object."""
UNPROCESSABLE = 422
AGAIN = 0.2
"""Seconds until the next look at what somebody changed while it was planned for."""
CREATED_INTERVAL = 1.0
"""Seconds until the next look at what was to be created."""
UNLABELLED_INTERVAL = 2.0
"""Seconds until the next look at a pod that has lost the label by which pods are watched."""
LEFTOVER_INTERVAL = 1.0
"""Seconds until the next look at what an earlier owner left; its deletion is told earlier, as a rule."""


class _Told(StatusType):
    """What the statuses of both kinds have."""

    phase: str | None = None
    conditions: Conditions | None = None


class Reconciler:
    """Brings objects of one kind towards what its plan says."""

    def __init__(
        self, kind: Kind, cache: Cache, client: Client, poller: Poller, wrote: Callable[[str, Object], None]
    ) -> None:
        self._kind, self._cache, self._client, self._poller, self._wrote = kind, cache, client, poller, wrote
        self._written: dict[str, float] = {}
        """When the status of an object, by uid, was last written."""
        self._told: dict[str, set[str]] = {}
        """Events that this process has posted, by uid."""
        self._untold: defaultdict[str, list[Event]] = defaultdict(list)
        """Events of a status that is written already, by uid: a failure to post them must not lose them."""

    async def reconcile(self, namespace: str, name: str) -> float | None:
        """Take one step; answer after how many seconds to look again, if at all."""
        parent = Key(self._kind.name, namespace, name)
        owner = self._cache.get(*parent)
        if owner is not None and cache.ABRIDGED in owner:
            owner = await self._client.get(*parent)
        children = self._cache.children(parent)
        if owner is None or "deletionTimestamp" in owner["metadata"]:
            self._poller.follow(parent, {})
            if owner is not None:
                await self._stop(owner, children)
            return None
        if unlabelled := await self._look_for_unlabelled(parent, owner, children):
            children = self._cache.children(parent)
        answers = self._poller.answers(parent)
        try:
            self._poller.follow(parent, self._kind.targets(owner, children, answers))
            plan = self._kind.plan(owner, children, answers, self._client.now())
        except Exception as error:
            # Whatever it is, it is this object's alone: the others are planned for, and this one is tried again.
            await self._report(owner, self._internal(owner, error))
            raise
        try:
            again = await self._carry_out(parent, owner, children, plan)
            return _sooner(again, UNLABELLED_INTERVAL) if unlabelled else again
        except Changed as changed:
            logger.debug("%s %s/%s: %s", *parent, changed, extra=about(*parent))
            await self._look_at(changed)
            return AGAIN

    async def _carry_out(self, parent: Key, owner: Object, children: list[Object], plan: Plan) -> float | None:
        try:
            await self._change_children(parent, owner, children, plan)
        except Leftover as error:
            await self._report(owner, self._blocked(owner, error))
            return LEFTOVER_INTERVAL
        except Blocked as error:
            await self._report(owner, self._blocked(owner, error))
            raise
        again = await self._report(owner, plan)
        if not plan.create:
            return again
        # Of what was there already, all that happened since may be known by now: then no event wakes anybody.
        return _sooner(again, CREATED_INTERVAL)

    async def _look_for_unlabelled(self, parent: Key, owner: Object, children: list[Object]) -> bool:
        """Read pods that no watch tells of: their owner reference and name decide whose they are, and whoever owns the
        namespace may have taken off the label by which they are watched. Answers whether there are any."""
        names = self._kind.unseen(owner, children)
        for child in children:
            if child["kind"] == "Pod" and not labels.is_labelled(child):
                self._cache.drop("Pod", child)
                names.append(child["metadata"]["name"])
        found = [await self._client.get("Pod", parent.namespace, name) for name in names]
        for pod in found:
            if pod is not None:
                self._cache.put("Pod", pod)
        return any(pod is not None for pod in found)

    async def _stop(self, owner: Object, children: list[Object]) -> None:
        """Stop what runs for an owner that is being deleted: a finalizer of somebody else's may keep it for long."""
        for child in children:
            if child["kind"] == "Pod" and labels.owned_by(child, owner["metadata"]["uid"]) and not pods.deleting(child):
                with suppress(Changed):
                    await self._client.delete(child)

    def _internal(self, owner: Object, error: Exception) -> Plan:
        """What is told of an object that nothing can be planned for: an error of ours, or something that nobody thought
        of. What else its status says stays."""
        generation, said = int(owner["metadata"].get("generation", 1)), f"{type(error).__name__}: {error}"
        words = f"the operator cannot plan for it and tries again: {said}"
        observed = [Condition("Accepted", "False", INTERNAL, words)]
        before = recorded.status(owner, _Told)
        merged = conditions.merge(before.get("conditions"), observed, generation, self._client.now())
        status = {**(owner.get("status") or {}), "conditions": merged, "observedGeneration": generation}
        if "phase" not in before:
            status["phase"] = "Refused"
        return Plan(status, events=[Event("Warning", INTERNAL, words, f"{INTERNAL}-{generation}")])

    def forget(self, uid: str) -> None:
        """The object is gone."""
        self._written.pop(uid, None)
        self._told.pop(uid, None)
        self._untold.pop(uid, None)

    async def _look_at(self, changed: Changed) -> None:
        """Learn what became of an object that is no longer as it was planned for: its watch may be behind."""
        known = self._cache.get(changed.kind, changed.namespace, changed.name)
        fresh = await self._client.get(changed.kind, changed.namespace, changed.name)
        if fresh is not None:
            self._cache.put(changed.kind, fresh)
        elif known is not None and changed.kind != self._kind.name:
            self._cache.drop(changed.kind, known)

    async def _change_children(self, parent: Key, owner: Object, children: list[Object], plan: Plan) -> None:
        seen = {(child["kind"], child["metadata"]["name"]): child for child in children}
        for wanted in plan.create:
            self._cache.put(wanted["kind"], await self._client.create(wanted))
        for wanted in plan.apply:
            child = seen.get((wanted["kind"], wanted["metadata"]["name"]))
            known = child if child is not None and labels.owned_by(child, owner["metadata"]["uid"]) else None
            self._cache.put(wanted["kind"], await self._client.apply(wanted, known), applied=True)
        for delete in plan.delete:
            await self._client.delete(seen[delete.kind, delete.name], force=delete.force)
        for entry in plan.record:
            self._cache.put(entry["kind"], await self._client.record(entry))

    def _blocked(self, owner: Object, error: Blocked) -> Plan:
        """What was planned did not come about, so nothing of it may be recorded but what stands in its way."""
        before, generation = owner.get("status") or {}, int(owner["metadata"].get("generation", 1))
        observed = self._kind.blocked(owner, error.reason, str(error))
        merged = conditions.merge(before.get("conditions"), observed, generation, self._client.now())
        status = {**before, "conditions": merged, "phase": self._kind.phase(merged), "observedGeneration": generation}
        # What is on its way out is nothing to warn of.
        told = [] if isinstance(error, Leftover) else [self._warning(error, generation)]
        return Plan(status, events=told)

    def _warning(self, error: Blocked, generation: int) -> Event:
        return Event("Warning", error.reason, str(error), f"{error.reason}-{generation}")

    async def _report(self, owner: Object, plan: Plan) -> float | None:
        uid = owner["metadata"]["uid"]
        change = difference(owner.get("status") or {}, plan.status)
        if not change:
            await self._tell(owner)
            return plan.requeue_after
        wait = self._written.get(uid, 0.0) + STATUS_INTERVAL - time.monotonic()
        if wait > 0 and not plan.urgent:
            return _sooner(plan.requeue_after, wait)
        try:
            written = await self._client.write_status(owner, change)
        except ApiError as error:
            if error.status == UNPROCESSABLE:
                # A server before 1.30 holds the whole object against the schema: it was stored under another one.
                words = f"the API server takes no status of it until its spec is mended: {error.message}"
                self._untold[uid] = [
                    Event("Warning", "StatusRefused", words, f"status-{owner['metadata']['generation']}")
                ]
                await self._tell(owner)
            raise
        if written is None:
            return None
        self._written[uid] = time.monotonic()
        self._wrote(self._kind.name, written)
        try:
            self._kind.reported(owner, plan.status, self._client.now())
            if (transition := self._kind.transition(owner.get("status") or {}, plan.status)) is not None:
                tell(logger, owner, transition)
        except Exception as error:
            # Of a status that somebody has edited not all can be told; it is written.
            logger.debug("%s: the change of its status cannot be told: %r", uid, error)
        self._untold[uid] += plan.events
        await self._tell(owner)
        return plan.requeue_after

    async def _tell(self, owner: Object) -> None:
        uid = owner["metadata"]["uid"]
        told, untold = self._told.setdefault(uid, set()), self._untold[uid]
        while untold:
            if untold[0].key not in told:
                await self._client.tell(owner, untold[0])
                told.add(untold[0].key)
            del untold[0]


def _sooner(again: float | None, seconds: float) -> float:
    """The shorter of two waits, the first of which may be none."""
    return seconds if again is None else min(again, seconds)


def difference(before: Object, after: Object) -> Object:
    """The JSON merge patch (RFC 7386) that turns one object into the other; empty when they are equal."""
    change: dict[str, Any] = {name: None for name in before if name not in after}
    for name, value in after.items():
        known = before.get(name)
        if isinstance(value, dict) and isinstance(known, dict):
            if inner := difference(known, value):
                change[name] = inner
        elif known != value:
            change[name] = value
    return change
