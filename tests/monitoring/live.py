"""A live Prometheus as tests query it."""

from __future__ import annotations

import json
import math
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Live:
    """Prometheus' address, and the values of the boards' variables: objects that train and serve during the tests."""

    url: str
    values: dict[str, str]

    def ready(self) -> bool:
        """Return whether it is ready. Raises OSError while nothing listens there."""
        with urllib.request.urlopen(f"{self.url}/-/ready", timeout=5) as answer:
            return bool(answer.status == 200)

    def get(self, path: str, **parameters: str) -> Any:
        """Query Prometheus' API; return `data` of the answer. Raises HTTPError for an invalid query."""
        query = f"?{urllib.parse.urlencode(parameters)}" if parameters else ""
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}{query}", timeout=30) as answer:
            return json.load(answer)["data"]

    def answers(self, expr: str) -> bool:
        """Return whether the query now yields a value that is not NaN."""
        data = self.get("query", query=expr)
        if data["resultType"] == "scalar":
            return not math.isnan(float(data["result"][1]))
        return any(not math.isnan(float(series["value"][1])) for series in data["result"])

    def labels(self, selector: str, label: str) -> list[str]:
        """Return the values of a label, queried as Grafana does to fill a variable."""
        return list(self.get(f"label/{label}/values", **{"match[]": selector}))

    def targets(self) -> list[dict[str, Any]]:
        """Return the active targets, as Prometheus describes them."""
        return list(self.get("targets", state="active")["activeTargets"])

    def target(self, job: str, **labels: str) -> dict[str, str]:
        """Return the labels of the job's target with these labels once it is scraped, else an empty dictionary."""
        for target in self.targets():
            found: dict[str, str] = target["labels"]
            if found["job"] == job and labels.items() <= found.items() and target["health"] == "up":
                return found
        return {}
