"""The kubelet port: container logs over HTTPS for `kubectl logs`. On loopback, unauthenticated."""

import datetime
import logging
import ssl
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from trainserve.dev.agent.logs import LogRequest, LogWatcher, read_log
from trainserve.dev.agent.records import Attempt

FindAttempt = Callable[[str, str, str, bool], Attempt]
"""The attempt whose log is meant by namespace, pod, container, previous. Raises LookupError with the reason."""

logger = logging.getLogger(__name__)


class LogServer:
    """Serves the logs that `find` finds; its own certificate lies in `directory`."""

    def __init__(self, find: FindAttempt, watcher: LogWatcher, directory: Path) -> None:
        self._find = find
        self._watcher = watcher
        self._directory = directory
        app = web.Application()
        app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", self._logs)
        app.router.add_get("/healthz", self._healthz)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)

    async def start(self, address: str, port: int) -> int:
        """Listen; port 0 is a free one. Returns the port. Raises OSError."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, address, port, ssl_context=_tls(self._directory, address))
        await site.start()
        bound: int = self._runner.addresses[0][1]
        return bound

    async def stop(self) -> None:
        """Stop listening, and end what is being followed."""
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
    """The query of a log request, in the names of PodLogOptions. Raises ValueError naming the parameter."""
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
    """A self-signed certificate will do: without --kubelet-certificate-authority the API server verifies none."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, address)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=3650))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = directory / "kubelet.pem"
    path.touch(mode=0o600)
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context
