"""The reconcile of one object: observe from the cache, plan, execute the plan, write a changed status, post events."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Generic

from trainserve.api.base import Conditions, StatusType
from trainserve.operator import cache, conditions, labels, objects, pods, statuses
from trainserve.operator.api_error import ApiError
from trainserve.operator.blocked import Blocked, Changed, Leftover
from trainserve.operator.cache import Cache
from trainserve.operator.client import Client
from trainserve.operator.conditions import Condition
from trainserve.operator.kinds import Kind, Seen
from trainserve.operator.logs import about
from trainserve.operator.objects import Object
from trainserve.operator.plan import Event, Plan
from trainserve.operator.poller import Poller
from trainserve.operator.transition import tell
from trainserve.operator.workqueue import Key

logger = logging.getLogger(__name__)

STATUS_INTERVAL = 1.0
"""Seconds between two status writes of one object, unless its plan is urgent: a short job passes through its states
faster than people can read them, and a thousand jobs share one API server."""

INTERNAL = "Internal"
"""Reason of Accepted=False while planning for an object fails."""
UNPROCESSABLE = 422
AGAIN = 0.2
"""Seconds until the next reconcile of an object that changed while it was being planned for."""
CREATED_INTERVAL = 1.0
"""Seconds until the next reconcile after children were created."""
UNLABELLED_INTERVAL = 2.0
"""Seconds until the next check of a pod that has lost the label by which pods are watched."""
LEFTOVER_INTERVAL = 1.0
"""Seconds until the next check of a child that an earlier owner left; its deletion is usually reported earlier."""


class _Told(StatusType):
    """The fields that the statuses of both kinds have."""

    phase: str | None = None
    conditions: Conditions | None = None


class Reconciler(Generic[Seen]):
    """Reconciler of one kind: brings each object towards the state that its plan describes."""

    def __init__(
        self, kind: Kind[Seen], cache: Cache, client: Client, poller: Poller, wrote: Callable[[str, Object], None]
    ) -> None:
        self._kind, self._cache, self._client, self._poller, self._wrote = kind, cache, client, poller, wrote
        self._written: dict[str, float] = {}
        """Monotonic time of the last status write, by the object's uid."""
        self._told: dict[str, set[str]] = {}
        """Keys of the events that this process has posted, by the object's uid."""
        self._untold: defaultdict[str, list[Event]] = defaultdict(list)
        """Events still to be posted for a status that is already written, by the object's uid: they are kept until
        posting succeeds."""

    async def reconcile(self, namespace: str, name: str) -> float | None:
        """Take one step; return the seconds until the next reconcile, or None to wait for a change."""
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
        async with self._reported(owner):
            observed = self._kind.observe(owner, children, self._poller.answers(parent))
            unseen = self._kind.unseen(observed)
        if unlabelled := await self._look_for_unlabelled(parent, unseen, children):
            children = self._cache.children(parent)
        async with self._reported(owner):
            if unlabelled:
                observed = self._kind.observe(owner, children, self._poller.answers(parent))
            self._poller.follow(parent, self._kind.targets(observed))
            plan = self._kind.plan(observed, self._client.now())
        try:
            again = await self._carry_out(parent, owner, children, plan)
            return _sooner(again, UNLABELLED_INTERVAL) if unlabelled else again
        except Changed as changed:
            logger.debug("%s %s/%s: %s", *parent, changed, extra=about(*parent))
            await self._look_at(changed)
            return AGAIN

    @asynccontextmanager
    async def _reported(self, owner: Object) -> AsyncIterator[None]:
        """Report an error of observing or planning in the object's status and raise it, so that only this object is
        retried."""
        try:
            yield
        except Exception as error:
            await self._report(owner, self._internal(owner, error))
            raise

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
        # An object that existed already may have changed before it was cached, and no event reports that again.
        return _sooner(again, CREATED_INTERVAL)

    async def _look_for_unlabelled(self, parent: Key, unseen: list[str], children: list[Object]) -> bool:
        """Read the pods that no watch reports into the cache, and return whether there are any.

        A user may have removed the label by which pods are watched, but their owner reference and name still decide to
        which object they belong.
        """
        names = list(unseen)
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
        """Delete the pods of an owner that is being deleted: a foreign finalizer may keep the owner for a long time."""
        for child in children:
            if child["kind"] == "Pod" and labels.owned_by(child, owner["metadata"]["uid"]) and not pods.deleting(child):
                with suppress(Changed):
                    await self._client.delete(child)

    def _internal(self, owner: Object, error: Exception) -> Plan:
        """Return the plan that reports an unexpected error of planning and keeps the rest of the status."""
        generation, said = objects.generation(owner), f"{type(error).__name__}: {error}"
        words = f"the operator failed to plan for this object and will try again: {said}"
        observed = [Condition("Accepted", "False", INTERNAL, words)]
        before = statuses.readable(owner, _Told)
        merged = conditions.merge(before.get("conditions"), observed, generation, self._client.now())
        status = {**objects.status(owner), "conditions": merged, "observedGeneration": generation}
        if "phase" not in before:
            status["phase"] = "Refused"
        return Plan(status, events=[Event("Warning", INTERNAL, words, f"{INTERNAL}-{generation}")])

    def forget(self, uid: str) -> None:
        """Drop the records of an object that no longer exists."""
        self._written.pop(uid, None)
        self._told.pop(uid, None)
        self._untold.pop(uid, None)

    async def _look_at(self, changed: Changed) -> None:
        """Read an object that changed while it was being planned for, since its watch may lag behind."""
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
        """Return the plan that reports only the error which blocked the original plan, none of whose effects is
        reported."""
        before, generation = objects.status(owner), objects.generation(owner)
        observed = self._kind.blocked(owner, error.reason, str(error))
        merged = conditions.merge(before.get("conditions"), observed, generation, self._client.now())
        status = {**before, "conditions": merged, "phase": self._kind.phase(merged), "observedGeneration": generation}
        # A leftover that is already being deleted needs no warning.
        told = [] if isinstance(error, Leftover) else [self._warning(error, generation)]
        return Plan(status, events=told)

    def _warning(self, error: Blocked, generation: int) -> Event:
        return Event("Warning", error.reason, str(error), f"{error.reason}-{generation}")

    async def _report(self, owner: Object, plan: Plan) -> float | None:
        uid = owner["metadata"]["uid"]
        change = difference(objects.status(owner), plan.status)
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
                # A server before 1.30 validates the whole object, which was stored under another schema.
                words = f"the API server refuses the status until the spec is valid: {error.message}"
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
            if (transition := self._kind.transition(objects.status(owner), plan.status)) is not None:
                tell(logger, owner, transition)
        except Exception as error:
            # A status that was edited by hand may be unreadable, but the new one has been written already.
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
    """Return the shorter of two waits in seconds; `again` may be None."""
    return seconds if again is None else min(again, seconds)


def difference(before: Object, after: Object) -> Object:
    """Return the JSON merge patch (RFC 7386) that turns `before` into `after`; empty if they are equal."""
    change: dict[str, Any] = {name: None for name in before if name not in after}
    for name, value in after.items():
        known = before.get(name)
        if isinstance(value, dict) and isinstance(known, dict):
            if inner := difference(known, value):
                change[name] = inner
        elif known != value:
            change[name] = value
    return change
