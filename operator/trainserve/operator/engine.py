"""Assembly of the operator's parts: cache, queue, reconcilers, poller, Lease, metrics."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Coroutine
from typing import Any

from kubernetes.aio.client import Configuration
from prometheus_client import start_http_server

from trainserve.operator import ending
from trainserve.operator.cache import Cache
from trainserve.operator.client import Client
from trainserve.operator.lease import Lease
from trainserve.operator.logs import text_of
from trainserve.operator.metrics import Metrics
from trainserve.operator.modelserve.kind import ModelServes
from trainserve.operator.objects import Object
from trainserve.operator.observer import Observer
from trainserve.operator.poller import Poller
from trainserve.operator.reconcile import Reconciler
from trainserve.operator.settings import Settings
from trainserve.operator.trainjob.kind import TrainJobs
from trainserve.operator.workqueue import Key, Workers

logger = logging.getLogger(__name__)

STALLED = 180.0
"""Seconds for which a key may be due or in progress before the process counts as unhealthy; more than the timeout of a
reconcile."""


class Unhealthy(Exception):
    """The process is alive but makes no progress; the message says in which part."""


class Engine:
    """Owner of the operator's parts: starts and stops them and passes watch events on."""

    def __init__(self, settings: Settings, config: Configuration) -> None:
        self._settings, self._cache = settings, Cache()
        self._acting = asyncio.Event()
        self._workers = Workers(self._reconcile, self._acting)
        self._metrics = Metrics(self._cache, self._workers.depth, self._workers.oldest_age, self._acting.is_set)
        self._client = client = Client(
            config, self._metrics.wrote, lambda: self._lease.is_current(), settings.namespaces
        )
        self._lease = Lease(client, settings.lease_namespace)
        self._poller = Poller(self._workers.add)
        restarted = self._metrics.watch_restarted
        self._observer = Observer(self._cache, client, self._workers.add, self._forget, restarted)
        kinds = (
            TrainJobs(settings, self._cache, self._metrics),
            ModelServes(settings, self._cache, client.discovery, self._metrics),
        )
        self._reconcilers = {
            kind.name: Reconciler(kind, self._cache, client, self._poller, self._observer.wrote) for kind in kinds
        }
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start every part and return at once. Reconciling begins when the Lease is held and every kind was listed."""
        host, port, store = self._settings.metrics_host, self._settings.metrics_port, self._settings.store
        self._server, self._server_thread = start_http_server(port, host, registry=self._metrics.registry)
        logger.info("the store is %s; metrics are served on %s, port %d", store.public, host, port)
        for name, part in {
            "discovery": self._client.discovery.run(),
            "lease": self._lease.run(),
            "gate": self._gate(),
            "observer": self._observer.run(),
            "poller": self._poller.run(),
            "workers": self._workers.run(),
            "watches": ending.when_a_watch_does(),
        }.items():
            self._tasks.append(asyncio.create_task(self._guard(name, part), name=name))

    async def stop(self) -> None:
        """Stop every part without finishing the work in progress, which the next leader takes up."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            await self._lease.release()
        except Exception as error:
            logger.warning("the lease could not be released: %s", text_of(error))
        await self._client.close()
        self._server.shutdown()
        self._server.server_close()

    def observe(self, kind: str, change: str | None, raw: Any) -> None:
        """Process one watch event."""
        self._observer.observe(kind, change, raw)

    def health(self) -> dict[str, Any]:
        """Return figures of the queue. Raises Unhealthy if a part has ended or a key has waited longer than STALLED."""
        ended = [task.get_name() for task in self._tasks if task.done()]
        if ended:
            raise Unhealthy(f"ended: {', '.join(ended)}")
        age = self._workers.oldest_age()
        if age > STALLED:
            raise Unhealthy(f"the oldest queued object has waited for {age:.0f} s, at most {STALLED:.0f} s are healthy")
        return {"oldestAgeSeconds": round(age, 3), "depth": self._workers.depth(), "acting": self._acting.is_set()}

    async def _reconcile(self, key: Key) -> float | None:
        started, result = time.perf_counter(), "error"
        try:
            again = await self._reconcilers[key.kind].reconcile(key.namespace, key.name)
            result = "success"
            return again
        finally:
            self._metrics.reconciled(key.kind, result, time.perf_counter() - started)

    def _forget(self, gone: Object) -> None:
        for reconciler in self._reconcilers.values():
            reconciler.forget(gone["metadata"]["uid"])

    async def _gate(self) -> None:
        await self._client.discovery.looked.wait()
        await self._observer.synced.wait()
        while True:
            await self._lease.held.wait()
            self._acting.set()
            await self._lease.lost.wait()
            self._acting.clear()

    async def _guard(self, name: str, part: Coroutine[Any, Any, None]) -> None:
        try:
            await part
        except Exception as error:
            logger.error("%s: %s; the process ends", name, text_of(error), exc_info=error)
            self._acting.clear()
            ending.surely()
            # Kopf's regular shutdown: it stops its watches, then calls on.cleanup.
            os.kill(os.getpid(), signal.SIGTERM)
            raise
