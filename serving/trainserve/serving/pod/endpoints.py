"""The probe's HTTP endpoints: /startz, /readyz, /livez, /report and /metrics (docs/contracts.md)."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from trainserve.api.pod import Endpoint
from trainserve.serving.pod.probe import Probe
from trainserve.serving.protocol.control import is_ready

_ENDPOINTS = (Endpoint.STARTED, Endpoint.ALIVE, Endpoint.VERIFIED, Endpoint.REPORT, Endpoint.METRICS)
_NOT_FOUND = f"{' '.join(_ENDPOINTS)}\n".encode()


def answer(probe: Probe, path: str) -> tuple[HTTPStatus, str, bytes]:
    """Return status, content type and body of the answer to a GET of `path`."""
    if path == Endpoint.STARTED:
        started = is_ready(f"{probe.host}:{probe.port}")
        if started:
            probe.started()
        return (
            (HTTPStatus.OK, "text/plain", b"ok\n") if started else (HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", b"")
        )
    if path == Endpoint.ALIVE:
        alive, words = probe.alive()
        return HTTPStatus.OK if alive else HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", f"{words}\n".encode()
    if path == Endpoint.VERIFIED:
        status = HTTPStatus.OK if probe.verified else HTTPStatus.SERVICE_UNAVAILABLE
        return status, "text/plain", f"{probe.reason}: {probe.message}\n".encode()
    if path == Endpoint.REPORT:
        return HTTPStatus.OK, "application/json", json.dumps(probe.report().wire()).encode()
    if path == Endpoint.METRICS:
        return HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(probe.metrics.registry)
    return HTTPStatus.NOT_FOUND, "text/plain", _NOT_FOUND


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log no client that closed its connection before the answer, such as a kubelet after its timeout."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def mark(dead: Path, path: str, status: HTTPStatus) -> None:
    """Create the file `dead` if /livez says that the server is not alive: it is then ended without draining."""
    if path not in (Endpoint.ALIVE, Endpoint.STARTED):
        return
    with contextlib.suppress(OSError):  # without the file the server is drained, which takes longer and does no harm
        if path == Endpoint.ALIVE and status != HTTPStatus.OK:
            dead.touch()
        elif status == HTTPStatus.OK:
            dead.unlink(missing_ok=True)


def serve(probe: Probe, host: str, port: int, dead: Path | None = None) -> None:
    """Serve until SIGTERM or SIGINT, and verify the server whenever it becomes ready.

    `dead` is a file that exists while the server is not alive.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            status, kind, body = answer(probe, path)
            if dead is not None:
                mark(dead, path, status)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            """Log no requests: there are several per second."""

    stopped = threading.Event()
    with _Server((host, port), Handler) as server:

        def verify() -> None:
            while probe.verify_when_due(stopped):
                print(json.dumps(probe.report().wire()), flush=True)

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopped.set())
        threading.Thread(target=server.serve_forever, daemon=True).start()
        threading.Thread(target=verify, daemon=True).start()
        stopped.wait()
