"""The run's HTTP server: `/progress` (JSON), `/metrics` (Prometheus), `/healthz`; up before heavy imports."""

from __future__ import annotations

import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from trainserve.models.progress import Progress

DEFAULT_PORT = 9400


def serve(progress: Progress) -> ThreadingHTTPServer | None:
    """Listen on POD_IP:TRAINSERVE_PROGRESS_PORT in a thread; None outside of a pod (without POD_IP).

    If it cannot listen, it warns on stderr and the run goes on.
    """
    address, port = os.environ.get("POD_IP"), os.environ.get("TRAINSERVE_PROGRESS_PORT", str(DEFAULT_PORT))
    if not address:
        return None
    try:
        server = _Server((address, int(port)), _handler(progress))
    except (OSError, ValueError, OverflowError) as error:
        print(f"progress is not served: cannot listen on {address}:{port}: {error}", file=sys.stderr, flush=True)
        return None
    threading.Thread(target=server.serve_forever, name="progress", daemon=True).start()
    return server


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
                case "/progress":
                    self._answer(200, "application/json", json.dumps(progress.report()).encode())
                case "/metrics":
                    from trainserve.models import metrics  # takes 0.07 s, at the first scrape only

                    self._answer(200, "text/plain; version=0.0.4; charset=utf-8", metrics.render(progress))
                case "/healthz":
                    self._answer(200, "text/plain", b"ok\n")
                case _:
                    self._answer(404, "text/plain", b"not found; there are /progress, /metrics and /healthz\n")

        def _answer(self, status: int, kind: str, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: object) -> None:
            """Do not log requests: polls come every few seconds."""

    return Handler
