"""The kubelet port: container logs over HTTPS for `kubectl logs`, on loopback, without authentication."""

import datetime
import logging
import ssl
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import trustme
from aiohttp import web

from trainserve.dev.agent.logs import LogRequest, LogWatcher, read_log
from trainserve.dev.agent.records import Attempt

FindAttempt = Callable[[str, str, str, bool], Attempt]
"""Returns the attempt for namespace, pod, container and previous. Raises LookupError with the reason."""

logger = logging.getLogger(__name__)


class LogServer:
    """Serves the logs of the attempts that `find` returns; stores its certificate in `directory`."""

    def __init__(self, find: FindAttempt, watcher: LogWatcher, directory: Path) -> None:
        self._find = find
        self._watcher = watcher
        self._directory = directory
        app = web.Application()
        app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", self._logs)
        app.router.add_get("/healthz", self._healthz)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)

    async def start(self, address: str, port: int) -> int:
        """Start listening; port 0 chooses a free one. Returns the port. Raises OSError."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, address, port, ssl_context=_tls(self._directory, address))
        await site.start()
        bound: int = self._runner.addresses[0][1]
        return bound

    async def stop(self) -> None:
        """Stop listening, and end open responses."""
        await self._runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        try:
            wanted = parse_query(request.query)
        except ValueError as error:
            return web.Response(status=400, text=str(error))
        names = request.match_info
        previous = request.query.get("previous") == "true"
        try:
            attempt = self._find(names["namespace"], names["pod"], names["container"], previous)
        except LookupError as error:
            return web.Response(status=400, text=str(error.args[0]))
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        async for block in read_log(self._watcher, attempt, wanted):
            await response.write(block)
        await response.write_eof()
        return response


def parse_query(query: Mapping[str, str]) -> LogRequest:
    """Parse the query of a log request, with PodLogOptions names. Raises ValueError naming the parameter."""
    numbers: dict[str, int] = {}
    for name in ("tailLines", "sinceSeconds", "limitBytes"):
        if name in query:
            if not query[name].isdigit():
                raise ValueError(f"{name}: {query[name]!r} is not a whole number of 0 or more")
            numbers[name] = int(query[name])
    since = time.time() - numbers["sinceSeconds"] if "sinceSeconds" in numbers else None
    if "sinceTime" in query:
        since = datetime.datetime.fromisoformat(query["sinceTime"]).timestamp()
    return LogRequest(
        follow=query.get("follow") == "true",
        tail_lines=numbers.get("tailLines"),
        timestamps=query.get("timestamps") == "true",
        since=since,
        limit_bytes=numbers.get("limitBytes"),
    )


def _tls(directory: Path, address: str) -> ssl.SSLContext:
    """Return a TLS context with a new certificate.

    The API server does not verify it, as it runs without --kubelet-certificate-authority.
    """
    path = directory / "kubelet.pem"
    path.touch(mode=0o600)
    trustme.CA().issue_cert(address).private_key_and_cert_chain_pem.write_to_path(path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context
