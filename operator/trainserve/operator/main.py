"""The operator's process: Kopf's wiring around the engine. Start it with `kopf run -m trainserve.operator.main`.

Kopf only watches and serves the probe. Its `on.event` handlers, the only ones without finalizers and lost retries, feed
the cache and the queue. The Lease is acquired in the background and gates the workers: Kopf serves the liveness probe
only after `on.startup` has returned, and the kubelet must not kill a replica that waits for the Lease.
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
"""Python's recursion limit, for the JSON parser that Kopf calls: objects stored before their open fields were bounded
may have the deepest nesting that an API server accepts, 10,000 levels. No other code recurses into them (`cache.trim`).
"""

CHATTY = ("aiohttp.access", "kopf.objects", "kopf.activities", "kopf._core.engines.activities")
"""Loggers with a line for each request, event, liveness probe or token, which would bury all others."""


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
    """Check progress, not only liveness: fail if a key has waited for too long or a part of the engine has ended."""
    return dict(memo.engine.health())


BACKOFFS = (0.1, 0.3, 1.0, *[2.0] * 1800)
"""Seconds between tries of a watch: it resumes soon after an outage, and Kopf gives up only after an hour, which ends
the process."""


class NoDiffs(kopf.DiffBaseStorage):
    """Storage that keeps no diffs: the operator uses none, and Kopf would copy every object several times for them."""

    def build(self, **_: Any) -> Any:
        """Return None: there is no essence to compare."""
        return None

    def fetch(self, **_: Any) -> Any:
        """Return None: nothing is stored."""
        return None

    def store(self, **_: Any) -> None:
        """Do nothing: objects are not annotated."""


def configure(settings: kopf.OperatorSettings) -> None:
    """Set Kopf's settings, with values chosen by measurement."""
    settings.watching.server_timeout = 600
    settings.watching.client_timeout = 660
    settings.watching.chunk_size = client.CHUNK
    # Kopf keeps each object's last event for this long, so all objects of a list at once.
    settings.queueing.idle_timeout = 0.1
    settings.networking.error_backoffs = BACKOFFS
    for plural in CHILDREN:
        settings.watching.label_selectors[plural] = labels.SELECTOR
    settings.persistence.diffbase_storage = NoDiffs()
    settings.peering.standalone = True
    settings.posting.enabled = False
    settings.posting.loggers = False
    # Kinds and namespaces are fixed, so nothing needs to be discovered while running.
    settings.scanning.disabled = True


async def observe_own(memo: kopf.Memo, resource: kopf.Resource, event: kopf.RawEvent, **_: Any) -> None:
    """Handle a watch event of a TrainJob or ModelServe."""
    memo.engine.observe(OWN[resource.plural], event["type"], event["object"])


async def observe_child(memo: kopf.Memo, resource: kopf.Resource, event: kopf.RawEvent, **_: Any) -> None:
    """Handle a watch event of one of their children."""
    memo.engine.observe(CHILDREN[resource.plural], event["type"], event["object"])


for _plural in OWN:
    kopf.on.event(GROUP, _plural)(observe_own)
kopf.on.event("", "v1", "pods")(observe_child)
kopf.on.event("", "v1", "services")(observe_child)
kopf.on.event("", "v1", "configmaps")(observe_child)
kopf.on.event("apps", "v1", "deployments")(observe_child)
kopf.on.event("networking.k8s.io", "v1", "networkpolicies")(observe_child)
# Without a version, Kopf watches the one that the cluster prefers; if it serves none, Kopf logs that and continues.
kopf.on.event("policy", "poddisruptionbudgets")(observe_child)
