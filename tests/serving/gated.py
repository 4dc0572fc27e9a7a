"""A model that runs for as long as a test wants: each execution is logged to a journal and ends when a gate opens.

Batching, queueing and scheduling belong to the server's core and are the same for every backend; with this model, its
decisions are read from a journal instead of inferred from timings.
"""

from __future__ import annotations

import http.client
import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from trainserve.serving.devserver.server import DevelopmentServer
from trainserve.serving.repository.repository import Entry
from trainserve.serving.repository.settings import Settings
from trainserve.serving.sources.servable import Servable
from trainserve.store import Tensor

DEADLINE = 30
"""Seconds; only a hang reaches it."""

MODEL = """
import json, os, time
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def initialize(self, args):
        folder = json.loads(args["model_config"])["parameters"]["folder"]["string_value"]
        self.journal = os.open(f"{folder}/journal", os.O_APPEND | os.O_CREAT | os.O_WRONLY)
        self.gate = f"{folder}/open"

    def execute(self, requests):
        arrays = [request.inputs()[0].as_numpy() for request in requests]
        numbers = [int(number) for array in arrays for number in array.flat]
        self.write("began", numbers)
        while not os.path.exists(self.gate):
            time.sleep(0.002)
        with open(self.gate) as gate:
            time.sleep(float(gate.read()))
        self.write("ended", numbers)
        return [pb_utils.InferenceResponse([pb_utils.Tensor("same", array)]) for array in arrays]

    def write(self, event, numbers):
        line = {"event": event, "at": time.monotonic(), "numbers": numbers}
        os.write(self.journal, (json.dumps(line) + "\\n").encode())
"""


def entry(folder: Path, name: str, **settings: Any) -> Entry:
    """Return a gated model with these settings; its gate and journal are in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.py").write_text(MODEL)
    numbers = (Tensor(name="number", dtype="int64", shape=[-1, 1]),)
    same = (Tensor(name="same", dtype="int64", shape=[-1, 1]),)
    model = Servable(name, folder, "", ("model.py",), numbers, same, graph="model.py")
    overrides = {"backend": "python", "parameters": {"folder": {"string_value": str(folder)}}}
    return Entry(name, model, Settings.model_validate({"batchAxis": "first"} | settings | {"overrides": overrides}))


@dataclass
class Gated:
    """A gated model on a running server. `ask` sends a request of one number and returns at once."""

    server: DevelopmentServer
    name: str
    folder: Path
    pool: ThreadPoolExecutor

    def ask(self, number: int, **parameters: Any) -> Future[tuple[int, str, float]]:
        """Send `number`; the future holds the answer's status, body and duration in seconds."""
        return self.pool.submit(self._ask, number, parameters)

    def _ask(self, number: int, parameters: dict[str, Any]) -> tuple[int, str, float]:
        tensor = {"name": "number", "shape": [1, 1], "datatype": "INT64", "data": [number]}
        body = json.dumps({"inputs": [tensor], "parameters": parameters})
        connection = http.client.HTTPConnection(self.server.url, timeout=DEADLINE)
        begun = time.perf_counter()
        try:
            connection.request("POST", f"/v2/models/{self.name}/infer", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read().decode(), time.perf_counter() - begun
        finally:
            connection.close()

    def open(self, seconds: float = 0) -> None:
        """Open the gate: every current and later execution ends after `seconds`."""
        aside = self.folder / "opening"
        aside.write_text(str(seconds))
        aside.rename(self.folder / "open")

    def journal(self) -> list[list[int]]:
        """Return the numbers of each execution so far, in the order in which they began."""
        return [numbers for _, numbers in self._times("began")]

    def spans(self) -> list[tuple[float, float]]:
        """Return (begin, end) of each completed execution, in seconds of the monotonic clock."""
        ended = {tuple(numbers): at for at, numbers in self._times("ended")}
        return [(at, ended[tuple(numbers)]) for at, numbers in self._times("began") if tuple(numbers) in ended]

    def _times(self, event: str) -> list[tuple[float, list[int]]]:
        path = self.folder / "journal"
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [(line["at"], line["numbers"]) for line in lines if line["event"] == event]

    def wait_for_executions(self, count: int) -> None:
        """Wait until `count` executions have begun."""
        wait(lambda: len(self.journal()) >= count, lambda: str(self.journal()))

    def wait_for_pending(self, count: int) -> None:
        """Wait until exactly `count` requests are pending."""
        wait(lambda: self.pending() == count, lambda: f"{self.pending()} instead of {count}: {self.journal()}")

    def pending(self) -> int:
        """Return the number of pending requests."""
        return int(self.metric("nv_inference_pending_request_count"))

    def metric(self, name: str, **labels: str) -> float:
        """Return the value of one of the server's metrics for this model."""
        return metric(self.server, name, model=self.name, **labels)


def metric(server: DevelopmentServer, name: str, **labels: str) -> float:
    """Return the sum of a metric over all series with these labels."""
    connection = http.client.HTTPConnection(f"127.0.0.1:{server.metrics_port}", timeout=DEADLINE)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    finally:
        connection.close()
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.removesuffix("_total") == name and labels.items() <= sample.labels.items()
    )


def wait(holds: Callable[[], bool], told: Callable[[], str]) -> None:
    """Wait until `holds` returns true; fail with the text of `told` after DEADLINE."""
    give_up = time.monotonic() + DEADLINE
    while not holds():
        assert time.monotonic() < give_up, told()
        time.sleep(0.005)


@contextmanager
def asking(server: DevelopmentServer, entry: Entry) -> Iterator[Gated]:
    """Yield a client of a gated model; at the end, open the gate, wait for every answer, and close the gate again."""
    folder = entry.model.folder
    with ThreadPoolExecutor(64) as pool:
        gated = Gated(server, entry.name, folder, pool)
        try:
            yield gated
        finally:
            gated.open()
    (folder / "open").unlink()
    os.truncate(folder / "journal", 0)
