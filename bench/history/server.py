"""A Prometheus server over existing blocks; it scrapes nothing."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from trainserve.dev.prometheus import prometheus

STARTED = 300.0
"""Maximum seconds until a server is ready."""
MERGED = 1800.0
"""Maximum seconds until a server has merged overlapping blocks."""


class Server:
    """HTTP API of a Prometheus server."""

    def __init__(self, url: str, data: Path) -> None:
        self.url, self.data = url, data

    def ask(self, path: str, **parameters: str) -> Any:
        """Return the `data` of a response. Raises RuntimeError with the server's message if it refuses."""
        body = urllib.parse.urlencode(parameters).encode()
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}", body) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{path} {parameters}: {error.read().decode()}") from error

    def labels(self, label: str, match: str, start: int, end: int) -> list[str]:
        """Return the values of a label."""
        query = urllib.parse.urlencode({"match[]": match, "start": start, "end": end})
        with urllib.request.urlopen(f"{self.url}/api/v1/label/{label}/values?{query}") as answer:
            return list(json.load(answer)["data"])

    def memory(self) -> int:
        """Return the server's resident memory in bytes."""
        with urllib.request.urlopen(f"{self.url}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        (line,) = [line for line in lines if line.startswith("process_resident_memory_bytes ")]
        return round(float(line.split()[1]))

    def ready(self) -> bool:
        """Return whether the server answers queries."""
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def merged(self) -> bool:
        """Return whether no two blocks overlap in time."""
        spans = sorted(_span(meta) for meta in self.data.glob("*/meta.json"))
        return all(earlier[1] <= later[0] for earlier, later in pairwise(spans))


@contextmanager
def running(data: Path) -> Iterator[Server]:
    """Run a server with Prometheus' own defaults over `data`; yield it once it is ready, and stop it afterwards."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = data.parent / "prometheus.yaml"
    config.write_text("{}\n")
    command = [str(prometheus()), f"--config.file={config}", f"--storage.tsdb.path={data}"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
    with (data.parent / "prometheus.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    server = Server(f"http://127.0.0.1:{port}", data)
    try:
        until(server.ready, STARTED, f"Prometheus is not ready; its log is {log.name}", process)
        yield server
    finally:
        process.terminate()
        process.wait()


def merge(data: Path) -> None:
    """Run a Prometheus until it has merged overlapping blocks in `data`, which it does a minute after its start."""
    with running(data) as server:
        until(server.merged, MERGED, f"the blocks in {data} are not merged")


def until(holds: Any, seconds: float, otherwise: str, process: subprocess.Popen[bytes] | None = None) -> None:
    """Wait until `holds()`. Raises RuntimeError after `seconds`, or once `process` has ended."""
    give_up = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > give_up or (process and process.poll() is not None):
            raise RuntimeError(otherwise)
        time.sleep(0.1)


def _span(meta: Path) -> tuple[int, int]:
    try:
        found = json.loads(meta.read_text())
    except FileNotFoundError:  # deleted meanwhile, after it was merged into another block
        return (0, 0)
    return found["minTime"], found["maxTime"]
