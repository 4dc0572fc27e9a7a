"""Prometheus as tests query it, and pods that are difficult to scrape."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import urllib3

from tests.cluster.support import wait_for

NAMESPACE = "default"
ODD = 'a "quoted" \\ value\nof two lines, {braces} and é'
"""Value of a label and of an annotation."""
PORT = {"name": "progress", "containerPort": 9400}
LABELS = {"app.kubernetes.io/managed-by": "trainserve", "trainserve.io/rank": "0", "trainserve.io/attempt": "1"}
SERVE_ODD = """
import os, sys, threading
from prometheus_client import Gauge, start_http_server
Gauge("odd_info", "A label with anything in it.", ["text"]).labels(sys.argv[1]).set(1)
start_http_server(9400, os.environ["POD_IP"])
threading.Event().wait()
"""
HANG = """
import os, socket
with socket.create_server((os.environ["POD_IP"], 9400)) as listening:
    held = []
    while True:
        held.append(listening.accept())
"""
SECONDS = 240.0
"""Seconds after which a wait counts as a hang; nothing is measured against it."""


@dataclass(frozen=True)
class Server:
    """A running Prometheus."""

    url: str

    def ask(self, path: str, **parameters: str) -> Any:
        """Query its API; return `data` of the answer."""
        answer = urllib3.request("GET", f"{self.url}/api/v1/{path}", fields=parameters)
        assert answer.status == 200, answer.data
        return answer.json()["data"]

    def query(self, expression: str, **parameters: str) -> list[dict[str, Any]]:
        """Return the samples of an instant query."""
        return list(self.ask("query", query=expression, **parameters)["result"])

    def targets(self) -> list[dict[str, Any]]:
        """Return the active scrape targets."""
        return list(self.ask("targets", state="active")["activeTargets"])

    def target(self, pod: str) -> dict[str, Any]:
        """Return the target of a pod with one port to scrape, or one with the health "absent"."""
        found = [each for each in self.targets() if each["labels"]["pod"] == pod]
        return found[0] if found else {"health": "absent"}


def until(condition: Callable[[], Any], what: Callable[[], Any]) -> None:
    wait_for(lambda: bool(condition()), SECONDS, lambda: json.dumps(what(), indent=1))
