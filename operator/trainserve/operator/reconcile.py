"""One reconcile: observe from the cache, plan, do what the plan says, write the status if it changed, tell events."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from trainserve.operator import conditions, labels, times
from trainserve.operator.blocked import Blocked, Leftover
from trainserve.operator.cache import Cache
from trainserve.operator.client import Client
from trainserve.operator.kinds import Kind
from trainserve.operator.plan import Event, Object, Plan
from trainserve.operator.poller import Poller
from trainserve.operator.transition import tell
from trainserve.operator.workqueue import Key

logger = logging.getLogger(__name__)

STATUS_INTERVAL = 1.0
"""Seconds between two status writes of one object, unless the plan says it is urgent: a short job passes through its
states faster than anybody reads them, and a thousand of them share one API server."""

LEFTOVER_INTERVAL = 1.0
"""Seconds until the next look at what an earlier owner left; its deletion is told earlier, as a rule."""


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
        if owner is None or "deletionTimestamp" in owner["metadata"]:
            self._poller.follow(parent, {})
            return None
        children = self._cache.children(parent)
        answers = self._poller.answers(parent)
        self._poller.follow(parent, self._kind.targets(owner, children, answers))
        plan = self._kind.plan(owner, children, answers, times.now())
        try:
            await self._change_children(parent, owner, plan)
        except Leftover as error:
            await self._report(owner, self._blocked(owner, error))
            return LEFTOVER_INTERVAL
        except Blocked as error:
            await self._report(owner, self._blocked(owner, error))
            raise
        return await self._report(owner, plan)

    def forget(self, uid: str) -> None:
        """The object is gone."""
        self._written.pop(uid, None)
        self._told.pop(uid, None)
        self._untold.pop(uid, None)

    async def _change_children(self, parent: Key, owner: Object, plan: Plan) -> None:
        for wanted in plan.create:
            self._cache.put(wanted["kind"], await self._client.create(wanted))
        for wanted in plan.apply:
            child = self._cache.child(parent, wanted["kind"], wanted["metadata"]["name"])
            known = child is not None and labels.owned_by(child, owner["metadata"]["uid"])
            self._cache.put(wanted["kind"], await self._client.apply(wanted, known=known), applied=True)
        for delete in plan.delete:
            await self._client.delete(parent.namespace, delete)

    def _blocked(self, owner: Object, error: Blocked) -> Plan:
        """What was planned did not come about, so nothing of it may be recorded but what stands in its way."""
        before, generation = owner.get("status") or {}, int(owner["metadata"].get("generation", 1))
        observed = self._kind.blocked(owner, error.reason, str(error))
        merged = conditions.merge(before.get("conditions"), observed, generation, times.now())
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
            return wait if plan.requeue_after is None else min(wait, plan.requeue_after)
        written = await self._client.write_status(owner, change)
        if written is None:
            return None
        self._written[uid] = time.monotonic()
        self._wrote(self._kind.name, written)
        self._kind.reported(owner, plan.status)
        if (transition := self._kind.transition(owner.get("status") or {}, plan.status)) is not None:
            tell(logger, owner, transition)
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
