"""Updates of the cache and the queue from watch events, and a new list where a watch may have missed something."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

from trainserve.operator import labels, objects
from trainserve.operator.cache import KEPT, PARENTS, Cache, parents
from trainserve.operator.client import Client
from trainserve.operator.logs import text_of
from trainserve.operator.objects import Object
from trainserve.operator.workqueue import Key

logger = logging.getLogger(__name__)

SETTLE = 1.0
"""Seconds to wait for the rest of a list after a watch has begun to list again."""
RETRY = 2.0


LIST_PAUSE = 10.0
"""Seconds without a listed object after which the next one belongs to a new list."""


class Watches:
    """Detector of restarted watches; it sees only the events, since Kopf reports nothing else."""

    def __init__(self) -> None:
        self._seen: dict[str, float] = {}
        """When an object of a kind was last listed, or the kind's first event came, in seconds."""

    def began_again(self, kind: str, listed: bool, now: float) -> bool:
        """Return whether an event at `now` (seconds) is the first of a repeated list of `kind`."""
        since = self._seen.setdefault(kind, now)
        if not listed:
            return False
        self._seen[kind] = now
        return now - since > LIST_PAUSE


class Observer:
    """Updater of the cache that also enqueues the keys that a change concerns."""

    def __init__(
        self,
        cache: Cache,
        client: Client,
        wake: Callable[[Key], None],
        forget: Callable[[Object], None],
        restarted: Callable[[str], None],
    ) -> None:
        self._cache, self._client, self._wake, self._forget = cache, client, wake, forget
        self._restarted, self._watches = restarted, Watches()
        self._relisted: set[str] = set()
        self._listed_again = asyncio.Event()
        self.synced = asyncio.Event()
        """Set once every kind has been listed: before that, a child missing from the cache may still exist."""

    def observe(self, kind: str, change: str | None, raw: Any) -> None:
        """Process one watch event. `change` is None for an object that a watch lists when it starts or restarts."""
        if self._watches.began_again(kind, change is None, time.monotonic()):
            self._restarted(kind)
        if change == "DELETED":
            self._gone(kind, raw)
            return
        if change is None:
            self._relisted.add(kind)
            self._listed_again.set()
        before = self._cache.get(kind, raw["metadata"]["namespace"], raw["metadata"]["name"])
        if self._cache.put(kind, raw) or change is None:
            self._wake_all(kind, raw, before)

    def wrote(self, kind: str, raw: Object) -> None:
        """Store the response to a status write of this process and enqueue other objects that it concerns.

        The later watch event brings no change to the cache and would not wake them.
        """
        own = Key(kind, raw["metadata"]["namespace"], raw["metadata"]["name"])
        before = self._cache.get(*own)
        if self._cache.put(kind, raw):
            for key in concerned(kind, raw, before, self._cache):
                if key != own:
                    self._wake(key)

    async def run(self) -> None:
        """List every kind, then list a kind again whenever its watch restarts: Kopf does not report what was deleted
        meanwhile."""
        self._relisted |= set(KEPT)
        while True:
            for kind in sorted(self._relisted):
                await self.list_anew(kind)
            if not self._relisted:
                self.synced.set()
                await self._listed_again.wait()
                self._listed_again.clear()
            await asyncio.sleep(SETTLE if self.synced.is_set() else RETRY)

    async def list_anew(self, kind: str) -> None:
        """List all objects of a kind and bring the cache in line with them; on an error, mark the kind for a retry."""
        self._relisted.discard(kind)
        try:
            found, revision = await self._client.list(kind)
        except Exception as error:
            logger.warning("listing %ss: %s; again in a moment", kind, text_of(error))
            self._relisted.add(kind)
            return
        for raw in found:
            before = self._cache.get(kind, raw["metadata"]["namespace"], raw["metadata"]["name"])
            if self._cache.put(kind, raw):
                self._wake_all(kind, raw, before)
        there = {raw["metadata"]["uid"] for raw in found}
        for known in self._cache.all(kind):
            if known["metadata"]["uid"] not in there and int(known["metadata"]["resourceVersion"]) <= revision:
                self._gone(kind, known)

    def _gone(self, kind: str, raw: Any) -> None:
        self._cache.drop(kind, raw)
        self._wake_all(kind, raw, None)
        for key in recorded(kind, raw, self._cache):
            self._wake(key)
        if kind in PARENTS:
            self._forget(raw)

    def _wake_all(self, kind: str, raw: Any, before: Object | None) -> None:
        for key in concerned(kind, raw, before, self._cache):
            self._wake(key)


def concerned(kind: str, raw: Any, before: Object | None, cache: Cache) -> Iterable[Key]:
    """Return the keys to reconcile after a change: the object itself, a child's parents, and ModelServes that follow a
    TrainJob."""
    metadata = raw["metadata"]
    if kind not in PARENTS:
        return parents(kind, raw)
    keys = [Key(kind, metadata["namespace"], metadata["name"])]
    if kind == "TrainJob" and (before is None or _published(before) != _published(raw)):
        model = (raw["spec"].get("output") or {}).get("model")
        for serve in cache.in_namespace("ModelServe", metadata["namespace"]):
            wanted = serve["spec"].get("model") or {}
            if wanted.get("trainJob") == metadata["name"] or (model is not None and wanted.get("name") == model):
                keys.append(Key("ModelServe", metadata["namespace"], serve["metadata"]["name"]))
    return keys


def recorded(kind: str, raw: Any, cache: Cache) -> Iterable[Key]:
    """Yield the keys of objects that publish or serve the model whose record of versions was deleted."""
    metadata = raw["metadata"]
    model = objects.labels(raw).get(labels.MODEL)
    if kind != "ConfigMap" or model is None:
        return
    for owner in (
        *cache.in_namespace("TrainJob", metadata["namespace"]),
        *cache.in_namespace("ModelServe", metadata["namespace"]),
    ):
        named = owner["spec"].get("output") or owner["spec"].get("model") or {}
        if model in (named.get("model"), named.get("name")):
            yield Key(owner["kind"], metadata["namespace"], owner["metadata"]["name"])


def _published(job: Object) -> tuple[Any, Any]:
    status = objects.status(job)
    return status.get("phase"), status.get("artifact")
