"""Delay of other namespaces by a large one: 1,500 TrainJobs at once in one namespace, then one in each of five others.

The API server is real, and only the operator runs besides it. Figures are seconds from before a neighbour's create call
until its first status can be read. All processes share this machine's cores.

Run with `python -m bench.neighbours`.
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bench.pauses import Replicas, api_server, make_namespace, wait
from bench.report import Bar, report, versions
from trainserve.dev.kube import Client

CROWD, NEIGHBOURS = 1500, 5
GOAL = 1.0


def main() -> None:
    """Measure and report the delays, and how many jobs of the crowd still had no status."""
    with api_server() as (client, kubeconfig):
        replicas = Replicas(kubeconfig, kubeconfig.parent)
        try:
            replicas.keep(1)
            names = [f"neighbour-{number}" for number in range(NEIGHBOURS)]
            for namespace in ("crowd", *names):
                make_namespace(client, namespace)
            wait(lambda: replicas.holder(client), "the operator holds the lease")
            with ThreadPoolExecutor(16) as pool:
                list(pool.map(lambda number: create(client, "crowd", f"job-{number}"), range(CROWD)))
            waited = [first_status(client, namespace) for namespace in names]
            waiting = sum(not told(job) for job in client.list("TrainJob", "crowd"))
        finally:
            replicas.stop()
    bars = [
        Bar("a neighbour's first status, longest", max(waited), "s", GOAL),
        Bar("a neighbour's first status, shortest", min(waited), "s"),
        Bar("of the crowd still without one then", waiting, ""),
    ]
    sys.exit(not report("neighbours", bars, {"crowd": CROWD, "neighbours": NEIGHBOURS}, versions("kopf", "kubernetes")))


def create(client: Client, namespace: str, name: str) -> None:
    """Create a TrainJob that runs a command."""
    spec = {"model": {"image": "any", "command": ["true"]}}
    client.create("TrainJob", {"metadata": {"name": name, "namespace": namespace}, "spec": spec})


def first_status(client: Client, namespace: str) -> float:
    """Create a job, and return the seconds until it has a status."""
    began = time.monotonic()
    create(client, namespace, "one")
    while not told(client.get("TrainJob", "one", namespace)):
        time.sleep(0.01)
    return time.monotonic() - began


def told(job: Any) -> bool:
    """Return whether the job has a status."""
    return bool((job.get("status") or {}).get("conditions"))


if __name__ == "__main__":
    main()
