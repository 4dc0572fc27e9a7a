"""Cost of the operators of two checkouts: CPU time per reconcile, memory at rest and with 1,000 TrainJobs.

Both take turns, each time on a new API server, together with only a simulated kubelet, under which every pod succeeds.
Each checkout's own `.venv` runs its operator; for figures of the image, install only the extra `operator` in it.

Run with `python -m bench.operator_cost BEFORE NOW`, the folders of both. Figures are medians over the turns.
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import NamedTuple

import psutil
import urllib3
from prometheus_client.parser import text_string_to_metric_families

from bench.pauses import Kubelet, Replicas, api_server, going_on, make_namespace, wait
from bench.report import Bar, report, versions

TURNS, JOBS = 3, 1000
REST = 10.0
"""Seconds after the operator has taken the Lease until its memory at rest is read, and after the last job has ended."""
HANG = 1800.0
NAMESPACE = "cost"
MIB = 2**20


class Cost(NamedTuple):
    """Figures of one turn."""

    rest: float
    """Memory in MiB before the first job."""
    loaded: float
    """Memory in MiB after all jobs have ended."""
    cpu: float
    """CPU seconds for all jobs."""
    reconciles: float

    def each(self) -> float:
        """Return the CPU milliseconds per reconcile."""
        return self.cpu / self.reconciles * 1e3


def turn(checkout: Path) -> Cost:
    """Run the operator of that checkout with all the jobs."""
    python = checkout.absolute() / ".venv" / "bin" / "python"
    with api_server() as (client, kubeconfig):
        replicas = Replicas(kubeconfig, kubeconfig.parent, python=str(python))
        try:
            replicas.keep(1)
            make_namespace(client, NAMESPACE)
            wait(lambda: replicas.holder(client), "the operator holds the lease")
            time.sleep(REST)
            operator = psutil.Process(replicas.running[0].pid)
            rest, before, already = _memory(operator), _cpu(operator), _reconciles(replicas.metrics)
            kubelet = Kubelet(client, NAMESPACE, (0.0, 0.0))
            kubelet.start()
            spec = {"model": {"name": "convnet"}, "dataset": {"name": "digits"}}
            jobs = [
                {"metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec | {"output": {"model": name}}}
                for name in (f"job-{number}" for number in range(JOBS))
            ]
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(lambda job: client.create("TrainJob", job), jobs))
            give_up = time.monotonic() + HANG
            while going_on(client, NAMESPACE):
                assert time.monotonic() < give_up, f"{len(going_on(client, NAMESPACE))} jobs still go on"
                time.sleep(2)
            kubelet.stop()
            time.sleep(REST)
            done = _reconciles(replicas.metrics) - already
            return Cost(rest, _memory(operator), _cpu(operator) - before, done)
        finally:
            replicas.stop()


def _memory(process: psutil.Process) -> float:
    return float(process.memory_info().rss / MIB)


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _reconciles(address: str) -> float:
    text = urllib3.request("GET", f"http://{address}/metrics", timeout=30).data.decode()
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return sum(sample.value for sample in samples if sample.name == "trainserve_reconcile_total")


def main() -> None:
    """Run all turns and report."""
    order = dict(zip(("before", "now"), map(Path, sys.argv[1:]), strict=True))
    turns: dict[str, list[Cost]] = {"now": [], "before": []}
    for number in range(TURNS):
        for name in order if number % 2 == 0 else reversed(order):
            turns[name].append(turn(order[name]))
            print(f"turn {number + 1}, {name}: {turns[name][-1]}", flush=True)
    now, before = turns["now"], turns["before"]
    job, job_before = (median(cost.cpu for cost in costs) / JOBS * 1e3 for costs in (now, before))
    cpu, cpu_before = (median(cost.each() for cost in costs) for costs in (now, before))
    rest, rest_before = (median(cost.rest for cost in costs) for costs in (now, before))
    loaded, loaded_before = (median(cost.loaded for cost in costs) for costs in (now, before))
    bars = [
        Bar("CPU per TrainJob", job, "ms"),
        Bar("the same, as a part of the other checkout's", job / job_before, "of it", 0.95),
        Bar("CPU per reconcile", cpu, "ms"),
        Bar("the same, as a part of the other checkout's", cpu / cpu_before, "of it", 0.95),
        Bar("memory at rest", rest, "MiB"),
        Bar("the same, as a part of the other checkout's", rest / rest_before, "of it", 1.25),
        Bar(f"memory with {JOBS} TrainJobs", loaded, "MiB"),
        Bar("the same, as a part of the other checkout's", loaded / loaded_before, "of it", 1.15),
    ]
    sys.exit(
        not report("operator_cost", bars, {"turns": TURNS, "jobs": JOBS}, versions("kopf", "kubernetes", "aiohttp"))
    )


if __name__ == "__main__":
    main()
