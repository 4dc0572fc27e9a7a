"""Proxies that misbehave by a script and then forward everything to a real server.

A script has one entry for each request: a status (HTTP) or a code's name (gRPC) to answer with, or `hang` (never
answer), `reset` (close the connection without an answer), `cut` (close it in the middle of one), `drip` (an answer that
never ends). Requests after the script's end are forwarded.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import grpc

Tls = tuple[Path, Path]
"""A certificate and its key."""


class Front(Protocol):
    """A proxy at `url` that counts `requests` and `connections`; `asked` is set by the first request.

    `headers` are those of the last request; they stay empty over gRPC.
    """

    url: str
    port: int
    requests: int
    connections: int
    headers: dict[str, str]
    asked: threading.Event


Begin = Callable[..., Front]
"""The fixture `front`: takes a protocol, then the script, one entry per request."""


class HttpFront:
    """A proxy in front of a server's HTTP port."""

    def __init__(self, behind: str, script: list[Any], host: str, port: int, tls: Tls | None) -> None:
        self.behind, self.script, self.requests, self.connections = behind, script, 0, 0
        self.headers: dict[str, str] = {}
        self.asked, self.over = threading.Event(), threading.Event()
        front = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                super().setup()
                front.connections += 1

            def do_POST(self) -> None:
                front.headers = {name.lower(): value for name, value in self.headers.items()}
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                front.requests += 1
                front.asked.set()
                act = front.script.pop(0) if front.script else None
                if act is None:
                    front.relay(self, body)
                elif isinstance(act, int):
                    self.answer(act, b'{"error":"as the script says"}', {"Content-Type": "application/json"})
                else:
                    self.close_connection = True
                    getattr(front, act)(self)

            do_GET = do_POST

            def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: object) -> None: ...

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, request: Any, client_address: Any) -> None: ...

        self.server = Server((host, port), Handler)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        self.url = f"{host}:{self.port}"

    def relay(self, handler: Any, body: bytes) -> None:
        connection = http.client.HTTPConnection(self.behind)
        connection.request(
            handler.command, handler.path, body, {k: v for k, v in handler.headers.items() if k != "Host"}
        )
        response = connection.getresponse()
        content = response.read()
        passed = {k: v for k, v in response.getheaders() if k.lower() not in ("content-length", "connection")}
        handler.answer(response.status, content, passed)
        connection.close()

    def hang(self, handler: Any) -> None:
        self.over.wait()

    def reset(self, handler: Any) -> None:
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.connection.close()

    def cut(self, handler: Any) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n0123456789")

    def drip(self, handler: Any) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while not self.over.wait(0.02):
            handler.wfile.write(b".")

    def __enter__(self) -> Self:
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over.set()
        self.server.shutdown()
        self.server.server_close()


class GrpcFront:
    """A proxy in front of a server's gRPC port; it counts no connections, because gRPC's server reports none."""

    def __init__(self, behind: str, script: list[Any], tls: Tls | None) -> None:
        self.script, self.requests, self.connections = script, 0, 0
        self.headers: dict[str, str] = {}
        self.asked, self.over = threading.Event(), threading.Event()
        self.channel = grpc.insecure_channel(behind)
        self.server = grpc.server(ThreadPoolExecutor(4), handlers=[_Handler(self)])
        if tls:
            certificate, key = (path.read_bytes() for path in tls)
            self.port = self.server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, certificate)]))
        else:
            self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.url = f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self.server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over.set()
        self.server.stop(None).wait()
        self.channel.close()


class _Handler(grpc.GenericRpcHandler):
    def __init__(self, front: GrpcFront) -> None:
        self.front = front

    def service(self, call: Any) -> Any:
        front = self.front
        ask: Callable[[bytes], bytes] = front.channel.unary_unary(call.method)

        def answer(request: bytes, context: Any) -> bytes:
            front.requests += 1
            front.asked.set()
            act = front.script.pop(0) if front.script else None
            if act == "hang":
                front.over.wait()
            elif act is not None:
                context.abort(grpc.StatusCode[act], "as the script says")
            return ask(request)

        return grpc.unary_unary_rpc_method_handler(answer)
