"""Servers of data sets on loopback: HTTPS with a private certificate authority, and an S3-compatible store."""

from __future__ import annotations

import base64
import hashlib
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import trustme

PATIENCE = 60.0
"""Seconds that only a hang would reach."""


class HttpsServer:
    """An https server of `files` by path. `authority` is the path of its CA certificate."""

    def __init__(self, folder: Path) -> None:
        self.files: dict[str, bytes] = {}
        self.gets: list[str] = []
        self.states = True
        """Whether answers carry an ETag."""
        self.password: str | None = None
        self.cut = False
        """Whether each body stops halfway and the connection closes."""
        self.leads_to: str | None = None
        """Location to which every request is redirected."""
        self.held = threading.Event()
        """While unset, a body pauses halfway until it is set; `halfway` is set when one has paused."""
        self.held.set()
        self.halfway = threading.Event()
        self.authority = folder / "ca.pem"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(_certificate(folder, self.authority))
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def uri(self, path: str) -> str:
        return f"https://127.0.0.1:{self._server.server_address[1]}/{path}"

    def close(self) -> None:
        self.held.set()
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                self._head()

            def do_GET(self) -> None:
                content = self._head()
                if content is None:
                    return
                owner.gets.append(self.path)
                half = len(content) // 2
                self.wfile.write(content[:half])
                self.wfile.flush()
                owner.halfway.set()
                owner.held.wait(PATIENCE)
                if owner.cut:
                    self.close_connection = True
                else:
                    self.wfile.write(content[half:])

            def _head(self) -> bytes | None:
                content = owner.files.get(unquote(self.path.lstrip("/").split("?")[0]))
                status = 200 if content is not None else 404
                if owner.password is not None:
                    expected = base64.b64encode(f"user:{owner.password}".encode()).decode()
                    if self.headers.get("Authorization") != f"Basic {expected}":
                        status, content = 401, None
                if owner.leads_to is not None:
                    status, content = 302, None
                self.send_response(status)
                self.send_header("Content-Length", str(len(content or b"")))
                if owner.leads_to is not None:
                    self.send_header("Location", owner.leads_to)
                if content is not None and owner.states:
                    self.send_header("ETag", f'"{hashlib.md5(content).hexdigest()}"')
                self.end_headers()
                return content

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        return Handler


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore the error: clients that are killed, or do not trust the certificate, disconnect early."""


def _certificate(folder: Path, authority: Path) -> Path:
    """Create a CA and a certificate for 127.0.0.1 signed by it; return the file with the certificate and its key."""
    ca, path = trustme.CA(), folder / "server.pem"
    ca.cert_pem.write_to_path(authority)
    ca.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(path)
    return path
