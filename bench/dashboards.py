"""Speed of the committed dashboards at a user's scale: a Prometheus with a week of 1,000 TrainJobs.

history   synthetic (bench/history): 7 days; 1,000 TrainJobs of 1 to 3 hours, none of them deleted; 50 ModelServes of
          2 pods, each rolled out every few days; a GPU for every pod, in the metrics of Triton, the training pod and
          dcgm-exporter. Scraped every 60 s, and in the last 6 hours every 15 s, the chart's interval (15 s for the
          whole week would take four times the text). promtool creates blocks from OpenMetrics text, of 18 hours each,
          the length to which Prometheus compacts. The recording rules are backfilled by their own expressions, with a
          point every half hour and linear interpolation between them (bench/history/recorded.py)
queries   those of every panel, variable and annotation of the committed boards, as Grafana would send them: one point
          per pixel of 1,000, but no closer than scrapes. TrainJob and ModelServe show an object that exists at the
          end, Fleet shows all
cold      the first time, by a Prometheus that has just started; its files may be in the machine's page cache
warm      again, 5 times
board     all queries of a board, 6 at a time like a browser, until the last is answered; the median of 3

Prometheus is Debian's, with its own defaults. The history is kept in ~/.cache/trainserve/history (0.3 GB); the first
run creates it, which takes half an hour on 2 cores, 7 GB of memory and 10 GB of disk. Run with
`python -m bench.dashboards`; with `--trainjobs 50 --modelserves 5 --days 1` the figures are only printed. Compare only
figures of the same run, since the machines are shared.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.history import cache
from bench.history.clock import DAY, END, HOUR, Clock
from bench.history.fleet import jobs, serves
from bench.history.server import Server, running
from bench.report import Bar, report, versions
from trainserve.dev.cluster import CHART
from trainserve.dev.dashboards import queries
from trainserve.dev.dashboards.queries import Query
from trainserve.dev.prometheus import prometheus

BOARDS = CHART / "dashboards"
TRAINJOBS, MODELSERVES, DAYS = 1000, 50, 7.0
PIXELS, WARM, BOARD, CONNECTIONS, SLOWEST = 1000, 5, 3, 6, 12
GOAL = 1.0
"""Maximum seconds for 95 % of the queries over a board's default range."""
RANGES: dict[str, int | None] = {"default": None, "24 h": DAY, "7 d": 7 * DAY}
"""Ranges in seconds by name; None is the board's default range."""
UNITS = {"m": 60, "h": HOUR, "d": DAY}


@dataclass(frozen=True)
class Timed:
    """Duration of one query."""

    board: str
    title: str
    kind: str
    expr: str
    series: int
    cold: float
    warm: Sequence[float]


@dataclass(frozen=True)
class Span:
    """A time range that ends now, with the parameters of Grafana's queries for it."""

    seconds: int

    @property
    def scrape(self) -> int:
        """Seconds between two scrapes in this range."""
        clock = Clock(self.seconds)
        return clock.fine if self.seconds <= clock.recent else clock.coarse

    @property
    def step(self) -> int:
        """Seconds between two points of a query."""
        return max(self.scrape, -(-self.seconds // PIXELS))

    @property
    def intervals(self) -> dict[str, str]:
        """Values of Grafana's built-in variables."""
        rate = max(self.step + self.scrape, 4 * self.scrape)
        intervals = {"__interval": self.step, "__rate_interval": rate, "__range": self.seconds}
        return {name: f"{seconds}s" for name, seconds in intervals.items()} | {"__range_s": str(self.seconds)}


def since(text: str) -> int:
    """Return the seconds of a board's default range, such as now-24h."""
    amount, unit = text.removeprefix("now-")[:-1], text[-1]
    return int(amount) * UNITS[unit]


def chosen(clock: Clock, trainjobs: int, modelserves: int) -> dict[str, dict[str, str]]:
    """Return the values of each board's variables, by the board's uid."""
    running = [job for job in jobs(clock, trainjobs) if job.began < clock.end < job.ended]
    job = min(running, key=lambda each: each.began)
    serve = next(each for each in reversed(serves(clock, modelserves)) if each.objective)
    return {
        "trainserve-fleet": {"namespace": ".+"},
        "trainserve-trainjob": {"namespace": job.namespace, "trainjob": job.name},
        "trainserve-modelserve": {"namespace": serve.namespace, "modelserve": serve.name, "model": serve.model},
        "trainserve-operator": {"namespace": "trainserve-system"},
    }


def send(server: Server, query: Query, span: Span) -> int:
    """Send one query; return the number of series in the response."""
    first = END - span.seconds
    if query.kind == "variable":
        return len(server.labels(query.label, query.expr, first, END))
    if query.instant:
        found = server.ask("query", query=query.expr, time=str(END))
    else:
        start, end = (str(when // span.step * span.step) for when in (first, END))
        found = server.ask("query_range", query=query.expr, start=start, end=end, step=str(span.step))
    return len(found["result"])


def seconds(server: Server, query: Query, span: Span) -> tuple[float, int]:
    """Return the seconds until one query's answer was read, and the number of its series."""
    began = time.perf_counter()
    series = send(server, query, span)
    return time.perf_counter() - began, series


def timed(server: Server, asked: Sequence[Query], span: Span) -> list[Timed]:
    """Time each query alone: first all of them cold, then again."""
    cold = [seconds(server, query, span) for query in asked]
    warm = [[seconds(server, query, span)[0] for query in asked] for _ in range(WARM)]
    return [
        Timed(query.board, query.title, query.kind, query.source, series, first, [turn[at] for turn in warm])
        for at, (query, (first, series)) in enumerate(zip(asked, cold, strict=True))
    ]


def at_once(server: Server, asked: Sequence[Query], span: Span) -> float:
    """Return the seconds until all queries of a board are answered."""

    def once() -> float:
        began = time.perf_counter()
        with ThreadPoolExecutor(CONNECTIONS) as browser:
            list(browser.map(lambda query: send(server, query, span), asked))
        return time.perf_counter() - began

    return median(once() for _ in range(BOARD))


def p95(values: Sequence[float]) -> float:
    """Return the 95th percentile."""
    return float(np.percentile(values, 95))


def figures(name: str, found: Sequence[Timed]) -> list[Bar]:
    """Return the figures of the panels' queries over one range."""
    panels = [each for each in found if each.kind == "panel"]
    goal = GOAL if name == "default" else None
    warm = [value for each in panels for value in each.warm]
    return [
        Bar(f"panels over the {name} range, warm, p95", p95(warm), "s", goal),
        Bar(f"panels over the {name} range, cold, p95", p95([each.cold for each in panels]), "s", goal),
        Bar(f"panels over the {name} range, slowest of all", max(warm + [each.cold for each in panels]), "s"),
    ]


def slowest(name: str, found: Sequence[Timed]) -> list[dict[str, Any]]:
    """Print and return the slowest queries."""
    table = Table("ms", "cold", "series", "board", "panel", "query", title=f"Slowest over the {name} range")
    rows = []
    for each in sorted(found, key=lambda each: median(each.warm), reverse=True)[:SLOWEST]:
        warm, cold = round(median(each.warm) * 1e3, 1), round(each.cold * 1e3, 1)
        table.add_row(f"{warm:.0f}", f"{cold:.0f}", str(each.series), each.board, each.title, each.expr[:80])
        rows.append({"ms": warm, "cold": cold, "series": each.series, "board": each.board, "title": each.title})
        rows[-1]["query"] = each.expr
    Console().print(table)
    return rows


def main() -> None:
    """Create the history if it is missing, measure and report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trainjobs", type=int, default=TRAINJOBS)
    parser.add_argument("--modelserves", type=int, default=MODELSERVES)
    parser.add_argument("--days", type=float, default=DAYS)
    asked = parser.parse_args()
    scale = (asked.trainjobs, asked.modelserves, asked.days)
    data, told = cache.data(*scale)
    values = chosen(Clock(round(asked.days * DAY)), asked.trainjobs, asked.modelserves)
    bars: list[Bar] = []
    details: dict[str, Any] = {"slowest": {}}
    whole: dict[str, float] = {}
    counted = 0
    empty: set[str] = set()
    for name, length in RANGES.items():
        with running(data) as server:  # restarted for each range, so that its first queries are cold
            found: list[Timed] = []
            for uid, board in queries.read(BOARDS).items():
                span = Span(length or since(board["time"]["from"]))
                wanted = list(queries.queries(board, {**values[uid], **span.intervals}))
                found += timed(server, wanted, span)
                if length is None:
                    whole[board["title"]] = at_once(server, wanted, span)
            if length is None:
                counted = len(found)
                empty = {f"{each.board}: {each.title}: {each.expr}" for each in found if not each.series}
                memory = server.memory()
        bars += figures(name, found)
        details["slowest"][name] = slowest(name, found)
    bars += [Bar(f"board {title}, all its queries at once", took, "s") for title, took in whole.items()]
    bars.append(Bar("Prometheus' resident memory after the default ranges", memory / 1e6, "MB"))
    counts = {"trainjobs": asked.trainjobs, "modelserves": asked.modelserves, "days": round(asked.days)}
    counts |= {"queries": counted, "warm": WARM, "series": told["series"] + told["recorded series"]}
    counts |= {"samples": told["samples"] + told["recorded samples"]}
    print(f"queries without an answer: {sorted(empty) or 'none'}")
    details |= {"unanswered": sorted(empty), "seconds to make the history": told["seconds"]}
    full = scale == (TRAINJOBS, MODELSERVES, DAYS)
    sys.exit(not report("dashboards", bars, counts, used(), write=full, **details))


def used() -> dict[str, str]:
    """Return the versions of the programs used."""
    printed = subprocess.run([prometheus(), "--version"], capture_output=True, text=True, check=True).stdout
    return {**versions("grafana-foundation-sdk", "numpy"), "prometheus": printed.split()[2]}


if __name__ == "__main__":
    main()
