"""A development server as a context manager, on free loopback ports."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from trainserve.serving.protocol.control import is_ready

READY_SECONDS = 180.0
"""Timeout of a start; with a few models the server is ready in 0.3 to 1.5 s."""
EXIT_SECONDS = 5
"""Value of --exit-timeout-secs; one idle keep-alive connection uses it up."""
_ERROR = re.compile(r"[EF]\d{4} ")  # glog's error and fatal lines
_HARMLESS = "CudaDriverHelper has not been initialized"  # logged on every machine without a GPU
_LAUNCHER = "tritonserver: "


class ServerNotReady(Exception):
    """The server ended, or did not become ready in time; the message has the errors of its log."""


class DevelopmentServer:
    """One `tritonserver` with a model repository, on its own loopback ports.

    `guard=False` is for measuring the server alone, with requests that are known to be valid.
    """

    def __init__(self, command: Path, repository: Path, log: Path, *arguments: str, guard: bool = True) -> None:
        self.command, self.repository, self.log = command, repository, log
        self.arguments = arguments if guard else (*arguments, "--guard=off")
        self.http_port, self.grpc_port, self.metrics_port = free_ports(3)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """<host>:<port> of the HTTP endpoint."""
        return f"127.0.0.1:{self.http_port}"

    @property
    def grpc_url(self) -> str:
        """<host>:<port> of the gRPC endpoint."""
        return f"127.0.0.1:{self.grpc_port}"

    @property
    def metrics_url(self) -> str:
        """URL of Triton's Prometheus metrics."""
        return f"http://127.0.0.1:{self.metrics_port}/metrics"

    def start(self) -> None:
        """Start the server and wait until it is ready. Raises ServerNotReady."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    str(self.command),
                    f"--model-repository={self.repository}",
                    f"--http-port={self.http_port}",
                    f"--grpc-port={self.grpc_port}",
                    f"--metrics-port={self.metrics_port}",
                    f"--exit-timeout-secs={EXIT_SECONDS}",
                    *self.arguments,
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + READY_SECONDS
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                status = self.process.poll()
                self.kill()
                raise ServerNotReady(f"tritonserver (exit status {status}): {errors(self.log)}")
            time.sleep(0.02)

    def ready(self) -> bool:
        """Whether /v2/health/ready answers 200."""
        return is_ready(self.url)

    def stop(self) -> int | None:
        """Send SIGTERM, then SIGKILL if the server does not end in time; returns its exit status."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(EXIT_SECONDS + 5)
            self.process.kill()
        return self.process.wait()

    def kill(self) -> None:
        """Send SIGKILL; the shared memory is removed when another server starts or ends."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> Self:
        """Start the server."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the server."""
        self.stop()


def errors(log: Path) -> str:
    """Return the errors of a server's log and its launcher's messages, or if there are none, the last lines."""
    lines = log.read_text(errors="replace").splitlines()
    told = [line for line in lines if (_ERROR.match(line) or line.startswith(_LAUNCHER)) and _HARMLESS not in line]
    return "\n".join(told or lines[-5:])


def free_ports(count: int) -> list[int]:
    """Return ports of 127.0.0.1 that are free now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
