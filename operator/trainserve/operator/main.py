"""The operator's process: Kopf's wiring around the engine. Start it with `kopf run -m trainserve.operator.main`.

Kopf watches and probes; it holds no logic. Its `on.event` handlers, the only ones without finalizers and lost retries,
feed the cache and the queue. The Lease is taken in the background and gates the workers: Kopf serves the liveness
probe only after `on.startup` has returned, and a replica that waits must not be killed for it.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

import kopf

from trainserve.api import GROUP
from trainserve.operator import client, labels
from trainserve.operator.engine import Engine
from trainserve.operator.settings import Settings

OWN = {"trainjobs": "TrainJob", "modelserves": "ModelServe"}
CHILDREN = {
    "pods": "Pod",
    "services": "Service",
    "configmaps": "ConfigMap",
    "deployments": "Deployment",
    "poddisruptionbudgets": "PodDisruptionBudget",
    "networkpolicies": "NetworkPolicy",
}

RECURSION_LIMIT = 12_000
"""Objects that were stored before their open fields were bounded may be as deep as an API server reads, 10,000 objects
or lists inside one another: the parser that Kopf calls must get through them. Nothing else follows them (`cache.trim`).
"""

CHATTY = ("aiohttp.access", "kopf.objects", "kopf.activities", "kopf._core.engines.activities")
"""Loggers with a line for each request, each event, each liveness probe or each token: they would bury the rest."""


@kopf.on.startup()
async def start(settings: kopf.OperatorSettings, memo: kopf.Memo, **_: Any) -> None:
    """Configure Kopf and start the engine."""
    sys.setrecursionlimit(RECURSION_LIMIT)
    configure(settings)
    for chatty in CHATTY:
        logging.getLogger(chatty).setLevel(logging.WARNING)
    memo.engine = Engine(Settings.from_environment(os.environ), await client.kube_config())
    await memo.engine.start()


@kopf.on.login()
async def login(**_: Any) -> kopf.AiohttpSession:
    """Log Kopf in with a bounded pool of connections."""
    return await client.kopf_session(await client.kube_config())


@kopf.on.cleanup()
async def stop(memo: kopf.Memo, **_: Any) -> None:
    """Stop the engine and let the next replica begin."""
    await memo.engine.stop()


@kopf.on.probe(id="queue")
async def probe(memo: kopf.Memo, **_: Any) -> dict[str, Any]:
    """Progress, not merely life: fails when a key has waited for too long or a part of the engine has ended."""
    return dict(memo.engine.health())


BACKOFFS = (0.1, 0.3, 1.0, *[2.0] * 1800)
"""Seconds between tries of a watch: soon back after an outage, and an hour until Kopf gives up and the process ends."""


class NoDiffs(kopf.DiffBaseStorage):
    """Storage without diffs, which nothing here uses: Kopf need not copy every object several times."""

    def build(self, **_: Any) -> Any:
        """No essence to compare."""
        return None

    def fetch(self, **_: Any) -> Any:
        """Nothing was stored."""
        return None

    def store(self, **_: Any) -> None:
        """Nothing to store: objects are not annotated."""


def configure(settings: kopf.OperatorSettings) -> None:
    """Set Kopf's settings, as measured."""
    settings.watching.server_timeout = 600
    settings.watching.client_timeout = 660
    settings.watching.chunk_size = client.CHUNK
    # Kopf keeps each object's last event for as long: of a list of large objects, all of them.
    settings.queueing.idle_timeout = 0.1
    settings.networking.error_backoffs = BACKOFFS
    for plural in CHILDREN:
        settings.watching.label_selectors[plural] = labels.SELECTOR
    settings.persistence.diffbase_storage = NoDiffs()
    settings.peering.standalone = True
    settings.posting.enabled = False
    settings.posting.loggers = False
    # Both kinds and all namespaces are fixed, so nothing needs to be discovered while running.
    settings.scanning.disabled = True


async def observe_own(memo: kopf.Memo, resource: kopf.Resource, event: kopf.RawEvent, **_: Any) -> None:
    """One of our objects changed."""
    memo.engine.observe(OWN[resource.plural], event["type"], event["object"])


async def observe_child(memo: kopf.Memo, resource: kopf.Resource, event: kopf.RawEvent, **_: Any) -> None:
    """One of their children changed."""
    memo.engine.observe(CHILDREN[resource.plural], event["type"], event["object"])


for _plural in OWN:
    kopf.on.event(GROUP, _plural)(observe_own)
kopf.on.event("", "v1", "pods")(observe_child)
kopf.on.event("", "v1", "services")(observe_child)
kopf.on.event("", "v1", "configmaps")(observe_child)
kopf.on.event("apps", "v1", "deployments")(observe_child)
kopf.on.event("networking.k8s.io", "v1", "networkpolicies")(observe_child)
# In whichever version the cluster prefers; where it has none, Kopf says so and goes on.
kopf.on.event("policy", "poddisruptionbudgets")(observe_child)
