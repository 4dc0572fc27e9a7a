"""The operator on a real API server, in this process or in a separate one, and a namespace to inspect."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
import threading
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import kopf

from tests.operator.support import DIGEST, PUBLISHED
from trainserve.dev.kube import KINDS
from trainserve.operator import rest
from trainserve.operator.api_error import ApiError, Refused
from trainserve.operator.engine import Engine
from trainserve.operator.objects import Object
from trainserve.operator.resources import Resource
from trainserve.operator.rest import MERGE, STRATEGIC

DEADLINE = 60.0


class Cluster:
    """One namespace of the API server, with administrator rights."""

    def __init__(self, requests: rest.Requests) -> None:
        self.requests = requests
        self.namespace = f"operator-{uuid.uuid4().hex[:8]}"

    def path(self, kind: str, name: str | None = None, subresource: str | None = None) -> str:
        return KINDS[kind].path(None if kind == "Namespace" else self.namespace, name, subresource)

    async def create(self, kind: str, wanted: Object) -> Object:
        fields = {name: value for name, value in wanted["metadata"].items() if name in ("name", "labels")}
        body = {**wanted, "metadata": {**fields, "namespace": self.namespace}}
        return await self.requests.send("POST", self.path(kind), KINDS[kind].typed(body))

    async def get(self, kind: str, name: str) -> Object | None:
        try:
            return await self.requests.send("GET", self.path(kind, name))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def patch(self, kind: str, name: str, change: Object, content_type: str = STRATEGIC) -> Object:
        return await self.requests.send("PATCH", self.path(kind, name), change, content_type=content_type)

    async def budget(self, name: str) -> Object:
        """Return the PodDisruptionBudget in whichever API version the server has, or an empty object."""
        for version in ("v1", "v1beta1"):
            resource = Resource("policy", version, "PodDisruptionBudget", "poddisruptionbudgets")
            with contextlib.suppress(Refused):
                return await self.requests.send("GET", resource.path(self.namespace, name))
        return {}

    async def delete(self, kind: str, name: str) -> None:
        await self.requests.send("DELETE", self.path(kind, name))

    async def objects(self, kind: str) -> list[Object]:
        return list((await self.requests.send("GET", self.path(kind)))["items"])

    async def set_status(self, kind: str, name: str, status: Object) -> None:
        await self.requests.send("PATCH", self.path(kind, name, "status"), {"status": status}, content_type=MERGE)

    async def events(self) -> list[str]:
        """Wait for the namespace's first events, posted after the status was written, and return their reasons."""
        async with asyncio.timeout(DEADLINE):
            while not (told := await self.objects("Event")):  # noqa: ASYNC110 - the server tells nobody here
                await asyncio.sleep(0.02)
        return [event["reason"] for event in told]

    async def wait(self, kind: str, name: str, until: Callable[[Object], Any]) -> Object:
        """Wait until the object exists and `until` holds; return it."""
        async with asyncio.timeout(DEADLINE):
            while True:
                found = await self.get(kind, name)
                with contextlib.suppress(KeyError):
                    if found is not None and until(found):
                        return found
                await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def operator() -> AsyncIterator[Engine]:
    """Run the operator as `kopf run` does, until the block ends.

    It runs in a thread with its own event loop: when Kopf stops, it cancels every task in its loop.
    """
    memo, stop, ready = kopf.Memo(), threading.Event(), threading.Event()

    def run() -> None:
        asyncio.run(kopf.operator(clusterwide=True, memo=memo, stop_flag=stop, ready_flag=ready))

    running = asyncio.create_task(asyncio.to_thread(run))
    assert await asyncio.to_thread(ready.wait, DEADLINE)
    try:
        yield memo.engine
    finally:
        stop.set()
        await running


@contextlib.asynccontextmanager
async def process(log: Path) -> AsyncIterator[str]:
    """Run the operator as a separate process that logs JSON; yield the URL of its liveness endpoint."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        liveness = f"http://127.0.0.1:{free.getsockname()[1]}/healthz"
    command = [sys.executable, "-m", "kopf", "run", "-m", "trainserve.operator.main", "--all-namespaces"]
    with log.open("wb") as file:
        running = await asyncio.create_subprocess_exec(
            *command, f"--liveness={liveness}", "--log-format=json", stdout=file, stderr=file
        )
        try:
            yield liveness
        finally:
            running.terminate()
            await running.wait()


def lines(log: Path, namespace: str) -> list[Object]:
    """Return the log lines of the process itself and of `namespace`: earlier tests left objects that stay stuck."""
    read = [json.loads(line) for line in log.read_text().splitlines()]
    return [line for line in read if line.get("object", {}).get("namespace", namespace) == namespace]


def serve(**model: Any) -> Object:
    """A ModelServe named `web`."""
    return {
        "apiVersion": "trainserve.io/v1alpha1",
        "kind": "ModelServe",
        "metadata": {"name": "web"},
        "spec": {"model": model},
    }


def said_published(cluster: Cluster, version: int, digest: str = DIGEST) -> Object:
    """The termination message of a successful run in the cluster's namespace."""
    uri = f"file:///srv/models/{cluster.namespace}/digits/{version}"
    return PUBLISHED | {"artifact": PUBLISHED["artifact"] | {"uri": uri, "version": version, "digest": digest}}
