"""A Prometheus as tests ask it, and pods that are odd to scrape."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import urllib3

from tests.cluster.support import wait_for

NAMESPACE = "default"
ODD = 'a "quoted" \\ value\nof two lines, {braces} and é'
"""As a label's value and as an annotation's."""
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
"""After which a wait is taken for a hang; nothing is measured against it."""


@dataclass(frozen=True)
class Server:
    """One Prometheus."""

    url: str

    def ask(self, path: str, **parameters: str) -> Any:
        """The data of an answer of its API."""
        answer = urllib3.request("GET", f"{self.url}/api/v1/{path}", fields=parameters)
        assert answer.status == 200, answer.data
        return answer.json()["data"]

    def query(self, expression: str, **parameters: str) -> list[dict[str, Any]]:
        """The samples of an instant query."""
        return list(self.ask("query", query=expression, **parameters)["result"])

    def targets(self) -> list[dict[str, Any]]:
        """What is scraped."""
        return list(self.ask("targets", state="active")["activeTargets"])

    def target(self, pod: str) -> dict[str, Any]:
        """The target of a pod that has one port to scrape, or an empty one."""
        found = [each for each in self.targets() if each["labels"]["pod"] == pod]
        return found[0] if found else {"health": "absent"}


def until(condition: Callable[[], Any], what: Callable[[], Any]) -> None:
    wait_for(lambda: bool(condition()), SECONDS, lambda: json.dumps(what(), indent=1))
