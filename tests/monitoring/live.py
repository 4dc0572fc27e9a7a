"""A live Prometheus as tests ask it."""

from __future__ import annotations

import json
import math
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Live:
    """Prometheus' address, and the values of the boards' variables: objects that train and serve meanwhile."""

    url: str
    values: dict[str, str]

    def ready(self) -> bool:
        """Whether it answers. Raises OSError while nothing listens there."""
        with urllib.request.urlopen(f"{self.url}/-/ready", timeout=5) as answer:
            return bool(answer.status == 200)

    def get(self, path: str, **parameters: str) -> Any:
        """`data` of an answer of Prometheus' API. Raises HTTPError for a query that is wrong."""
        query = f"?{urllib.parse.urlencode(parameters)}" if parameters else ""
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}{query}", timeout=30) as answer:
            return json.load(answer)["data"]

    def answers(self, expr: str) -> bool:
        """Whether the query has a series now whose value is a number."""
        data = self.get("query", query=expr)
        if data["resultType"] == "scalar":
            return not math.isnan(float(data["result"][1]))
        return any(not math.isnan(float(series["value"][1])) for series in data["result"])

    def labels(self, selector: str, label: str) -> list[str]:
        """Values of a label, as Grafana asks for them to fill a variable."""
        return list(self.get(f"label/{label}/values", **{"match[]": selector}))

    def targets(self) -> list[dict[str, Any]]:
        """What is scraped, as Prometheus describes it."""
        return list(self.get("targets", state="active")["activeTargets"])

    def target(self, job: str, **labels: str) -> dict[str, str]:
        """The labels of the target of that job with these labels, once it is scraped; else empty."""
        for target in self.targets():
            found: dict[str, str] = target["labels"]
            if found["job"] == job and labels.items() <= found.items() and target["health"] == "up":
                return found
        return {}
