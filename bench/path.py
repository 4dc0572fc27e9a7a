"""Speed of the main path, on a new development cluster with the operator under the chart's role.

apply -> worker process started    n = 50 jobs, one after another; from before the API's create call until the time that
                                   the worker prints first, by its own clock
last training step -> published    n = 3 digits runs; includes evaluation, export, parity, gates and the store's commit;
                                   by the pod's own clock
ModelServe applied -> first answer n = 5; from before the create call until a request is answered with the correct label
1000 no-op TrainJobs               created 16 at a time; until all are Complete; operator's CPU seconds and peak RSS

Run with `make bench`. Compare only figures of the same run, since the machines are shared.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import numpy as np
import psutil

from bench.report import Bar, report, versions
from trainserve import client as serving
from trainserve.dev.cluster import Cluster
from trainserve.dev.kube import ApiError, Client, Object, is_true

HANG = 600.0
STARTS, RUNS, SERVES, MANY = 50, 3, 5, 1000


def create(client: Client, kind: str, name: str, spec: Object) -> None:
    """Create a TrainJob or ModelServe in the namespace default."""
    client.create(kind, {"metadata": {"name": name}, "spec": spec})


def wait(client: Client, kind: str, name: str, wanted: str) -> Object:
    """Wait for the object's condition `wanted` to be True, and return the object."""
    give_up = time.monotonic() + HANG
    while time.monotonic() < give_up:
        thing = client.get(kind, name)
        if is_true(thing, wanted):
            return thing
        if is_true(thing, "Failed"):
            break
        time.sleep(0.05)
    raise SystemExit(f"{kind} {name} did not become {wanted}: {thing.get('status')}")


def log(client: Client, job: str) -> list[str]:
    """Return the lines that the job's first pod printed."""
    return client.log(f"{job}-1-0")


def apply_to_process(client: Client) -> list[float]:
    """Measure the milliseconds from create call to the worker's first statement, for each of STARTS jobs."""
    times = []
    for number in range(STARTS):
        name = f"start-{number}"
        began = time.time()
        create(client, "TrainJob", name, {"model": {"image": "any", "command": ["date", "+%s.%N"]}})
        wait(client, "TrainJob", name, "Complete")
        times.append((float(log(client, name)[0]) - began) * 1e3)
        client.delete("TrainJob", name)
    return times


def step_to_published(client: Client) -> list[float]:
    """Measure the seconds from the last training step to the published manifest, by the pod's own clock."""
    times = []
    for number in range(RUNS):
        name = f"train-{number}"
        spec = {
            "model": {"name": "convnet"},
            "dataset": {"name": "digits"},
            "output": {"model": "digits"},
            "resources": {"cpu": "1"},
        }
        create(client, "TrainJob", name, spec)
        wait(client, "TrainJob", name, "Complete")
        (line,) = [line for line in log(client, name) if "published: " in line]
        found = re.search(r"([0-9.]+) s after the last training step", line)
        assert found, line
        times.append(float(found[1]))
    return times


def apply_to_answer(client: Client) -> list[float]:
    """Measure the seconds from create call to the first correct answer through the Service."""
    from trainserve.models.config import Dataset
    from trainserve.models.data import load

    data = load(Dataset(name="digits"), seed=0)
    times = []
    for number in range(SERVES):
        name = f"serve-{number}"
        began = time.monotonic()
        create(client, "ModelServe", name, {"model": {"name": "digits"}})
        while not right(client, name, data.test_images[:16], data.test_targets[:16]):
            if time.monotonic() - began > HANG:
                raise SystemExit(f"{name} never answered")
            time.sleep(0.02)
        times.append(time.monotonic() - began)
        client.delete("ModelServe", name)
    return times


def right(client: Client, name: str, images: Any, labels: Any) -> bool:
    """Return whether the service answers and at least 15 of 16 labels are right."""
    try:
        spec = client.get("Service", name)["spec"]
        with serving.Client(f"{spec['clusterIP']}:8000", retries=0) as server:
            answer = server.infer(server.model("digits"), {"images": images})["probabilities"]
    except (ApiError, serving.RequestFailed):
        return False
    return bool(np.sum(answer.argmax(axis=1) == labels) >= 15)


def many(client: Client, operator: psutil.Process) -> tuple[float, float, float]:
    """Measure 1000 no-op jobs: wall seconds until all are Complete, operator CPU seconds, operator peak RSS in MB."""
    before = operator.cpu_times()
    peak = 0.0
    began = time.monotonic()
    spec = {"model": {"image": "any", "command": ["true"]}}
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda i: create(client, "TrainJob", f"many-{i}", spec), range(MANY)))
    while True:
        peak = max(peak, operator.memory_info().rss / 1e6)
        done = sum(is_true(job, "Complete") for job in client.list("TrainJob") if "many-" in name_of(job))
        if done == MANY:
            break
        if time.monotonic() - began > HANG:
            raise SystemExit(f"only {done} of {MANY} jobs completed in {HANG:.0f} s")
        time.sleep(1)
    wall = time.monotonic() - began
    after = operator.cpu_times()
    return wall, after.user + after.system - before.user - before.system, peak


def name_of(thing: Any) -> str:
    """Return an object's metadata.name."""
    return str(thing["metadata"]["name"])


def main() -> None:
    """Measure all four on one cluster and report."""
    with tempfile.TemporaryDirectory(prefix="trainserve-bench-") as folder:
        cluster = Cluster(Path(folder), simulated_gpus=2)
        try:
            cluster.up("etcd", "apiserver", "controller-manager", "scheduler", "agent", "operator")
            client = Client(cluster.kubeconfig)
            starts = apply_to_process(client)
            published = step_to_published(client)
            answers = apply_to_answer(client)
            operator = psutil.Process(cluster.status()["operator"].pid)
            wall, cpu, rss = many(client, operator)
            assert len(client.list("Pod")) >= MANY
        finally:
            cluster.down()
    percentiles = quantiles(starts, n=100)
    bars = [
        Bar("apply -> worker process started, p50", median(starts), "ms", 300),
        Bar("apply -> worker process started, p99", percentiles[98], "ms"),
        Bar("last training step -> version published, median", median(published), "s"),
        Bar("ModelServe applied -> first right answer, median", median(answers), "s", 5),
        Bar("1000 no-op TrainJobs all Complete", wall, "s", 60),
        Bar("operator's CPU for them", cpu, "s"),
        Bar("operator's peak RSS", rss, "MB", 150),
    ]
    counts = {"starts": STARTS, "runs": RUNS, "serves": SERVES, "jobs": MANY}
    sys.exit(not report("path", bars, counts, versions("kopf", "kubernetes", "torch", "onnxruntime")))


if __name__ == "__main__":
    main()
