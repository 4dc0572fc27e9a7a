"""`trainserve serve` as a process: the lines that it prints, its server's processes, and requests to it."""

from __future__ import annotations

import http.client
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from trainserve.serving.devserver import launch
from trainserve.serving.devserver.server import free_ports

COMMAND = [sys.executable, "-c", "from trainserve.cli.main import main; main()", "serve"]
DIGIT = {"name": "images", "shape": [1, 28, 28, 1], "datatype": "UINT8", "data": [0] * 784}


def wait_until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Serving:
    """A running `trainserve serve`."""

    def __init__(self, *arguments: str | Path) -> None:
        self.ports = free_ports(3)
        flags = [f"--{name}-port={port}" for name, port in zip(("http", "grpc", "metrics"), self.ports, strict=True)]
        self.process = subprocess.Popen(
            [*COMMAND, *map(str, arguments), *flags], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.lines: queue.Queue[str] = queue.Queue()
        self.said: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line.rstrip())

    def wait_for(self, start: str) -> str:
        """Wait for the next line that starts with `start`; return it."""
        while True:
            line = self.lines.get(timeout=60)
            self.said.append(line)
            if line.startswith(start):
                return line

    def wait_for_all(self, *starts: str) -> None:
        """Wait until a line with each of these starts has been printed, in any order; lines already read count."""
        for start in starts:
            if not any(line.startswith(start) for line in self.said):
                self.wait_for(start)

    def launcher(self) -> psutil.Process:
        (found,) = psutil.Process(self.process.pid).children()
        return found

    def triton(self) -> psutil.Process:
        (found,) = self.launcher().children()
        return found

    def backends(self, model: str) -> list[psutil.Process]:
        alive = [each for each in self.triton().children() if each.status() != psutil.STATUS_ZOMBIE]
        return [each for each in alive if f"/{model}/" in each.cmdline()[1]]

    def prefix(self) -> str:
        (option,) = [each for each in self.triton().cmdline() if "shm-region-prefix-name=" in each]
        return option.rpartition("=")[2]

    def ask(self, model: str = "digits") -> int:
        return self.post(f"/v2/models/{model}/infer", {"inputs": [DIGIT]})

    def post(self, path: str, body: dict[str, Any]) -> int:
        """POST `body` as JSON; return the status of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[0], timeout=30)
        try:
            connection.request("POST", path, json.dumps(body).encode())
            response = connection.getresponse()
            response.read()
            return response.status
        finally:
            connection.close()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def regions(prefix: str) -> list[str]:
    return [path.name for path in launch.SHARED_MEMORY.glob(f"{prefix}*")]


def run(*arguments: str | Path) -> tuple[int, list[str]]:
    """Run a `trainserve serve` that ends by itself; return its exit status and lines."""
    environment = os.environ | {"COLUMNS": "500"}
    finished = subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False, env=environment, timeout=120
    )
    return finished.returncode, (finished.stdout + finished.stderr).splitlines()
