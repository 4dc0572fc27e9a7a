"""The run's HTTP server: `/progress` (JSON), `/metrics` (Prometheus), `/healthz`; up before heavy imports."""

from __future__ import annotations

import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from trainserve.api.pod import Endpoint, Port, Variable
from trainserve.models.progress import Progress


def serve(progress: Progress) -> ThreadingHTTPServer | None:
    """Listen on POD_IP:TRAINSERVE_PROGRESS_PORT in a thread; None outside of a pod (without POD_IP).

    If it cannot listen, it warns on stderr and the run goes on.
    """
    address, port = os.environ.get(Variable.POD_IP), os.environ.get(Variable.PROGRESS_PORT, str(Port.PROGRESS))
    if not address:
        return None
    try:
        server = _Server((address, int(port)), _handler(progress))
    except (OSError, ValueError, OverflowError) as error:
        print(f"progress is not served: cannot listen on {address}:{port}: {error}", file=sys.stderr, flush=True)
        return None
    threading.Thread(target=server.serve_forever, name="progress", daemon=True).start()
    return server


_NOT_FOUND = f"not found; there are {Endpoint.PROGRESS}, {Endpoint.METRICS} and {Endpoint.HEALTH}\n".encode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that disconnect before the answer, such as a poll that timed out."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def _handler(progress: Progress) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            match self.path:
                case Endpoint.PROGRESS:
                    self._answer(200, "application/json", json.dumps(progress.report()).encode())
                case Endpoint.METRICS:
                    from trainserve.models import metrics  # takes 0.07 s, at the first scrape only

                    self._answer(200, "text/plain; version=0.0.4; charset=utf-8", metrics.render(progress))
                case Endpoint.HEALTH:
                    self._answer(200, "text/plain", b"ok\n")
                case _:
                    self._answer(404, "text/plain", _NOT_FOUND)

        def _answer(self, status: int, kind: str, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: object) -> None:
            """Do not log requests: polls come every few seconds."""

    return Handler
