"""Servers that models are fetched from in these tests: an https server with range requests and injectable faults."""

from __future__ import annotations

import base64
import hashlib
import re
import threading
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import unquote

from tests.models.data_servers import PATIENCE, HttpsServer


class RangeServer(HttpsServer):
    """An https server of `files`. `gets` lists the requested paths, `ranges` their Range headers ('' without one).

    For each of the next answers, `cuts` gives the number of bytes after which the connection closes, and `statuses` the
    status to send instead of the content.
    """

    def reset(self) -> None:
        """Restore the initial state."""
        self.files, self.gets = {}, []
        self.ranges: list[str] = []
        self.cuts: list[int] = []
        self.statuses: list[int] = []
        self.states, self.leads_to, self.password = True, None, None
        self.held.set()
        self.halfway.clear()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        self.lock = threading.Lock()
        self.reset()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                self._answer(head=True)

            def do_GET(self) -> None:
                self._answer(head=False)

            def _answer(self, head: bool) -> None:
                name = unquote(self.path.lstrip("/"))
                with owner.lock:
                    status = owner.statuses.pop(0) if owner.statuses else 0
                    if not head:
                        owner.gets.append(name)
                        owner.ranges.append(self.headers.get("Range", ""))
                content = owner.files.get(name)
                if owner.password is not None:
                    pair = base64.b64encode(f"user:{owner.password}".encode()).decode()
                    status = status or 401 * (self.headers.get("Authorization") != f"Basic {pair}")
                if owner.leads_to is not None:
                    status = 302
                elif content is None:
                    status = status or 404
                if status:
                    self.send_response(status)
                    self.send_header("Content-Length", "0")
                    if owner.leads_to is not None:
                        self.send_header("Location", owner.leads_to)
                    self.end_headers()
                    return
                assert content is not None
                tag = f'"{hashlib.md5(content).hexdigest()}"'
                start = 0
                asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
                if asked and self.headers.get("If-Range", tag) == tag:
                    start = int(asked[1])
                    if start >= len(content):
                        self.send_response(416)
                        self.send_header("Content-Length", "0")
                        self.end_headers()
                        return
                    self.send_response(206)
                    self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
                else:
                    self.send_response(200)
                self.send_header("Content-Length", str(len(content) - start))
                if owner.states:
                    self.send_header("ETag", tag)
                self.end_headers()
                if not head:
                    self._body(name, content[start:])

            def _body(self, name: str, content: bytes) -> None:
                with owner.lock:
                    cut = owner.cuts.pop(0) if owner.cuts else None
                if cut is not None:
                    self.wfile.write(content[:cut])
                    self.close_connection = True
                    return
                half = len(content) // 2
                self.wfile.write(content[:half])
                self.wfile.flush()
                if name.endswith(".onnx"):
                    owner.halfway.set()
                    owner.held.wait(PATIENCE)
                self.wfile.write(content[half:])

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        return Handler
