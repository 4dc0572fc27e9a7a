"""A development server as a context: started on free loopback ports by the runtime's command, stopped at the end."""

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
"""Only a hang reaches it: with a few models the server is ready in 0.3 to 1.5 s."""
EXIT_SECONDS = 5
"""Passed as --exit-timeout-secs: one idle keep-alive connection uses it up."""
_ERROR = re.compile(r"[EF]\d{4} ")  # glog's error and fatal lines
_HARMLESS = "CudaDriverHelper has not been initialized"  # said on every machine without a GPU
_LAUNCHER = "tritonserver: "


class ServerNotReady(Exception):
    """The server ended, or never became ready; the message holds the errors of its log."""


class DevelopmentServer:
    """One `tritonserver` over a model repository, on loopback ports of its own.

    Without its `guard` the server is measured alone: by requests of this project's own, and nobody else's.
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
        """Where Triton's Prometheus metrics are."""
        return f"http://127.0.0.1:{self.metrics_port}/metrics"

    def start(self) -> None:
        """Start it and wait until it is ready. Raises ServerNotReady."""
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
        """SIGTERM, wait, and SIGKILL if it does not end; returns its exit status."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(EXIT_SECONDS + 5)
            self.process.kill()
        return self.process.wait()

    def kill(self) -> None:
        """SIGKILL; its shared memory is swept when the next server starts or ends."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()


def errors(log: Path) -> str:
    """The errors of a server's log and the words of its launcher, or the last lines where there are none."""
    lines = log.read_text(errors="replace").splitlines()
    told = [line for line in lines if (_ERROR.match(line) or line.startswith(_LAUNCHER)) and _HARMLESS not in line]
    return "\n".join(told or lines[-5:])


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
