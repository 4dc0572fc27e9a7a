"""The process ends when a watch has ended for good, whatever the reason: it must not continue without events."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from kubernetes.aio.client import Configuration
from kubernetes.aio.client.rest import RESTClientObject

from trainserve.operator import rest

pytestmark = pytest.mark.cluster

DEADLINE = 60.0
PLURAL = "trainjobs"


class Front:
    """A proxy in front of an API server that can be told to break the watches of one kind."""

    def __init__(self, config: Configuration, authorization: str | None) -> None:
        self._config, self._authorization = config, authorization
        self.broken: str | None = None
        self.watched, self.stop = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def served(self) -> AsyncIterator[str]:
        connector = aiohttp.TCPConnector(ssl=RESTClientObject(self._config).ssl_context, limit=0)
        async with aiohttp.ClientSession(connector=connector) as self._session:
            app = web.Application()
            app.router.add_route("*", "/{path:.*}", self._pass_on)
            runner = web.AppRunner(app, shutdown_timeout=0.1)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            assert site._server is not None
            (address,) = (each.getsockname() for each in site._server.sockets)  # type: ignore[attr-defined]
            try:
                yield f"http://127.0.0.1:{address[1]}"
            finally:
                await runner.cleanup()

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        watches = "watch" in request.query and request.path.endswith(PLURAL)
        if watches and self.broken is not None and self.broken != "a line that is no JSON":
            raise web.HTTPNotFound(text="404 page not found")
        headers = [(name, value) for name, value in request.headers.items() if name in ("Content-Type", "Accept")]
        headers += [("Authorization", self._authorization)] if self._authorization else []
        url = f"{self._config.host}{request.path_qs}"
        async with self._session.request(
            request.method, url, headers=headers, data=await request.read() or None
        ) as answer:
            response = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.content_type})
            await response.prepare(request)
            if watches:
                self.watched.set()
                await self.stop.wait()
                if self.broken == "a line that is no JSON":
                    await response.write(b"{\n")
                return response
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            return response


def kubeconfig_of(server: str, folder: Path) -> Path:
    path = folder / "kubeconfig"
    path.write_text(
        f"{{apiVersion: v1, kind: Config, current-context: a, clusters: [{{name: a, cluster: {{server: '{server}'}}}}],"
        " users: [{name: a, user: {token: a}}], contexts: [{name: a, context: {cluster: a, user: a}}]}"
    )
    return path


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.mark.parametrize("fault", ["a line that is no JSON", "a kind that is not served any more"])
async def test_the_process_ends_when_a_watch_has_ended_for_good(kubeconfig: Path, tmp_path: Path, fault: str) -> None:
    config, log = await rest.configuration(kubeconfig), tmp_path / "log"
    front = Front(config, await rest.bearer(config))
    async with front.served() as server:
        settings = {
            "KUBECONFIG": str(kubeconfig_of(server, tmp_path)),
            "TRAINSERVE_STORE": f"file://{tmp_path}/store",
            "TRAINSERVE_METRICS_ADDRESS": f"127.0.0.1:{free_port()}",
        }
        arguments = ["-m", "kopf", "run", "-m", "trainserve.operator.main", "--all-namespaces", "--standalone"]
        with log.open("w") as written:
            process = await asyncio.create_subprocess_exec(
                sys.executable, *arguments, env=os.environ | settings, stdout=written, stderr=written
            )
            try:
                async with asyncio.timeout(DEADLINE):
                    await front.watched.wait()
                    front.broken = fault
                    front.stop.set()
                    code = await process.wait()
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
    assert code != 0
    assert "watcher for trainjobs" in log.read_text().lower()
