"""Series of dcgm-exporter, which knows which pod has a GPU."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bench.history.clock import Clock
from bench.history.fleet import Job, Serve
from bench.history.series import Series, Values

PER_NODE = 8


def of_job(clock: Clock, job: Job) -> Iterator[Series]:
    """The GPUs of a TrainJob while its pod runs."""
    for gpu in range(job.gpus):
        where = job.number * 3 % 20, gpu
        yield from _gpu(clock, where, job.namespace, job.pod, "trainer", clock.index(job.began), clock.index(job.ended))


def of_serve(clock: Clock, serve: Serve) -> Iterator[Series]:
    """One GPU for each pod of a ModelServe."""
    for release in serve.releases:
        first, past = clock.index(release.began), clock.index(release.ended)
        for at, pod in enumerate(release.pods(serve.name)):
            place = serve.number * 2 + at
            where = 20 + place // PER_NODE, place % PER_NODE
            yield from _gpu(clock, where, serve.namespace, pod, "triton", first, past)


def _gpu(
    clock: Clock, where: tuple[int, int], namespace: str, pod: str, container: str, first: int, past: int
) -> Iterator[Series]:
    past = min(past, len(clock.times))
    if first >= past:
        return
    node, gpu = where
    labels = {
        "gpu": str(gpu),
        "UUID": f"GPU-{node:04}-{gpu}",
        "device": f"nvidia{gpu}",
        "modelName": "NVIDIA L4",
        "Hostname": f"gpu-node-{node:02}",
        "exported_namespace": namespace,
        "exported_pod": pod,
        "exported_container": container,
        "namespace": "gpu-operator",
        "pod": f"dcgm-exporter-{node:02}",
        "job": "dcgm-exporter",
        "instance": f"10.251.{node}.1:9400",
    }
    random = np.random.default_rng([6, node, gpu, first])
    busy = np.clip(random.normal(0.8, 0.1, past - first), 0, 1)
    watts = 20 + 52 * busy
    steps = np.diff(clock.times[first:past], prepend=clock.times[first] - 15)
    values: dict[str, Values] = {
        "DCGM_FI_DEV_GPU_UTIL": np.floor(100 * busy),
        "DCGM_FI_DEV_FB_USED": 18_000.0,
        "DCGM_FI_DEV_FB_FREE": 4_700.0,
        "DCGM_FI_DEV_POWER_USAGE": np.round(watts, 2),
        "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": np.floor(np.cumsum(watts * steps) * 1e3),
        "DCGM_FI_DEV_XID_ERRORS": 0.0,
        "DCGM_FI_DEV_GPU_TEMP": np.floor(40 + 30 * busy),
        "DCGM_FI_DEV_SM_CLOCK": 2_040.0,
    }
    for name, series in values.items():
        yield Series(name, labels, first, past, series)
