"""Checks that the development cluster's Prometheus scrapes the pods and has counted the demo's requests."""

from __future__ import annotations

import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, TypeVar

import urllib3

from trainserve.dev.demo.watch import DemoError

JOBS = ("trainserve-operator", "trainserve-probe", "trainserve-triton")
"""Scrape jobs with targets while a model is served and nothing trains."""
TIMEOUT = 5.0
"""Timeout of a request to Prometheus, in seconds."""
Target = dict[str, Any]
Found = TypeVar("Found")


def await_targets(url: str, deadline: float) -> list[Target]:
    """Return the targets once all JOBS have some and all are up. Raises DemoError after `deadline` seconds."""

    def look() -> list[Target] | None:
        targets: list[Target] = _ask(f"{url}/api/v1/targets?state=active")["activeTargets"]
        jobs = {target["labels"]["job"] for target in targets}
        return targets if jobs >= set(JOBS) and all(target["health"] == "up" for target in targets) else None

    return _await(look, f"targets of {', '.join(JOBS)} to be up at {url}/api/v1/targets", deadline)


def await_value(url: str, query: str, least: float, deadline: float) -> float:
    """Return the query's single value once it is at least `least`. Raises DemoError after `deadline` seconds."""

    def look() -> float | None:
        result = _ask(f"{url}/api/v1/query", query=query)["result"]
        value = float(result[0]["value"][1]) if result else 0.0
        return value if value >= least else None

    return _await(look, f"{query} to reach {least:g} at {url}", deadline)


def _await(look: Callable[[], Found | None], what: str, deadline: float) -> Found:
    give_up = time.monotonic() + deadline
    while (found := look()) is None:
        if time.monotonic() > give_up:
            raise DemoError(f"waited {deadline:.0f} s for {what}")
        time.sleep(0.25)
    return found


def _ask(url: str, **parameters: str) -> dict[str, Any]:
    try:
        answer = urllib3.request("GET", url, fields=parameters, timeout=TIMEOUT, retries=False)
    except urllib3.exceptions.HTTPError as error:
        raise DemoError(f"{url}: {error}") from error
    if answer.status != HTTPStatus.OK:
        raise DemoError(f"{url}: HTTP status {answer.status}")
    return dict(answer.json()["data"])
