"""The bucket that ends at an objective is found in a real Prometheus of each major version by its `le` label."""

from __future__ import annotations

import json
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from trainserve.api.latency_buckets import PROBE, TRITON, bounds, objective_buckets, triton_bounds
from trainserve.api.metrics.objects import MODELSERVE_OBJECTIVE_BUCKET
from trainserve.dev import prometheus
from trainserve.serving.devserver.server import free_ports
from trainserve.serving.pod.metrics import ProbeMetrics

OBJECTIVES = {"quick": 0.0005, "usual": 0.02, "odd": 0.0125, "whole": 1.0, "digits": 9.0, "slow": 2000.0}
"""Objectives in seconds by ModelServe name; formatting 8,999.9999 ms with 16 digits does not reproduce it."""


def labels(objective: float) -> list[str]:
    """Return the `le` labels that Triton exports, as prometheus-cpp 1.0.1 formats them."""
    return [f"{bound:.16g}" for bound in triton_bounds(objective)]


def exposed(objective: float) -> str:
    """Return what a serving pod and the operator export; each of Triton's buckets has its index as its value."""
    probe, operator = ProbeMetrics(bounds(objective)), CollectorRegistry()
    probe.answered(objective * 0.99)
    probe.answered(objective * 1.01)
    gauge = Gauge(MODELSERVE_OBJECTIVE_BUCKET.name, "Help.", ["family", "le"], registry=operator)
    for family, le in objective_buckets(objective):
        gauge.labels(family, le).set(1)
    lines = [f"# TYPE {TRITON} histogram", f"{TRITON}_count 100"]
    lines += [f'{TRITON}_bucket{{le="{le}"}} {number}' for number, le in enumerate(labels(objective))]
    return "\n".join([*lines, f'{TRITON}_bucket{{le="+Inf"}} 100', ""]) + "".join(
        generate_latest(registry).decode() for registry in (probe.registry, operator)
    )


@pytest.fixture(scope="module")
def target() -> Iterator[str]:
    """An address that serves each objective's metrics at /<name>."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(exposed(OBJECTIVES[self.path.strip("/")]).encode())

        def log_message(self, format: str, *arguments: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


@contextmanager
def running(program: Path, folder: Path, target: str) -> Iterator[Callable[[str], list[dict[str, Any]]]]:
    """Run a Prometheus that scrapes the pods of all objectives; yield a function that queries it."""
    jobs = [
        {
            "job_name": name,
            "metrics_path": f"/{name}",
            "static_configs": [{"targets": [target], "labels": {"namespace": "a", "modelserve": name}}],
        }
        for name in OBJECTIVES
    ]
    configuration = folder / "prometheus.json"
    configuration.write_text(json.dumps({"global": {"scrape_interval": "200ms"}, "scrape_configs": jobs}))
    (port,) = free_ports(1)
    command = prometheus.command(program, configuration, folder / "data", port)
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as server:

        def ask(query: str) -> list[dict[str, Any]]:
            url = f"http://127.0.0.1:{port}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
            with urllib.request.urlopen(url) as response:
                found: list[dict[str, Any]] = json.load(response)["data"]["result"]
            return found

        try:
            yield ask
        finally:
            server.kill()


@pytest.mark.parametrize("find", [prometheus.prometheus, prometheus.prometheus3], ids=["2", "3"])
def test_each_objective_finds_its_bucket_once_in_either_histogram(
    find: Callable[[], Path], target: str, tmp_path: Path
) -> None:
    try:
        program = find()
    except prometheus.PrometheusUnavailable as error:
        pytest.skip(str(error))
    wanted = {}
    for name, objective in OBJECTIVES.items():
        wanted[name, PROBE] = 1.0  # of two inferences, the one within the objective
        (ends_there,) = {
            le for family, le in objective_buckets(objective) if family == TRITON and le in labels(objective)
        }
        wanted[name, TRITON] = float(labels(objective).index(ends_there))

    def found(ask: Callable[[str], list[dict[str, Any]]]) -> dict[tuple[str, str], float]:
        values: dict[tuple[str, str], float] = {}
        for family in (PROBE, TRITON):
            objective = f'{MODELSERVE_OBJECTIVE_BUCKET.name}{{family="{family}"}}'
            joined = ask(f"{family}_bucket * on (namespace, modelserve, le) group_left () {objective}")
            for series in joined:
                place = series["metric"]["modelserve"], family
                assert place not in values, "more than one bucket is taken for the objective's"
                values[place] = float(series["value"][1])
        return values

    deadline = time.monotonic() + 60
    with running(program, tmp_path, target) as ask:
        while True:
            try:
                values = found(ask)
            except OSError:  # still starting
                values = {}
            if values == wanted:
                break
            assert time.monotonic() < deadline, (values, (tmp_path / "log").read_text())
            time.sleep(0.1)
