"""Report of a benchmark: a table on the terminal, and the same figures as JSON under bench/results/."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Bar:
    """A figure and its goal, None for a figure that is only reported."""

    name: str
    value: float
    unit: str
    goal: float | None = None
    better: Literal["less", "more"] = "less"

    @property
    def ok(self) -> bool | None:
        """Return whether the goal is reached; None without a goal."""
        if self.goal is None:
            return None
        return bool(self.value <= self.goal if self.better == "less" else self.value >= self.goal)  # not numpy's


def machine() -> dict[str, Any]:
    """Return the properties of the machine on which figures depend."""
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"cpu": model, "cores": os.cpu_count(), "memoryGiB": round(memory / 2**30), "kernel": platform.release()}


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of Python and of `packages`."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def report(
    name: str, bars: list[Bar], n: dict[str, int], used: dict[str, str], *, write: bool = True, **details: Any
) -> bool:
    """Print the table, and write bench/results/<name>.json if `write`; return whether every goal is reached."""
    console = Console()
    table = Table("figure", "value", "goal", "", title=name)
    for bar in bars:
        sign = "≤" if bar.better == "less" else "≥"
        goal = f"{sign} {bar.goal:g} {bar.unit}" if bar.goal is not None else ""
        mark = {True: "ok", False: "MISSED", None: ""}[bar.ok]
        table.add_row(bar.name, f"{bar.value:.4g} {bar.unit}", goal, mark, style="red" if bar.ok is False else "")
    console.print(table)
    console.print(f"n: {n}  machine: {machine()}", highlight=False)
    if write:
        _write(name, bars, n, used, details)
    return all(bar.ok is not False for bar in bars)


def _write(name: str, bars: list[Bar], n: dict[str, int], used: dict[str, str], details: dict[str, Any]) -> None:
    RESULTS.mkdir(exist_ok=True)
    content = {
        "machine": machine(),
        "versions": used,
        "n": n,
        "bars": [
            {**{k: v for k, v in asdict(bar).items() if k in ("name", "value", "unit", "goal")}, "ok": bar.ok}
            for bar in bars
        ],
        **details,
    }
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(content, indent=1) + "\n")
    print(f"written to {path}")
