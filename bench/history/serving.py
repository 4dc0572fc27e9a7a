"""Series of a ModelServe's pods: Triton's, the probe's, and those that Prometheus makes of a scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from prometheus_client.utils import floatToGoString
from scipy.special import ndtr

from bench.history.clock import DAY, Clock
from bench.history.fleet import REPLICAS, Release, Serve
from bench.history.series import Series, Values
from trainserve.api.latency_buckets import TRITON, bounds, triton_bounds
from trainserve.api.metrics import serving as M

Floats: TypeAlias = NDArray[np.float64]
Maker: TypeAlias = Callable[..., Series]
REASONS = {"REJECTED": 2e-4, "CANCELED": 1e-4, "BACKEND": 5e-5, "OTHER": 0.0}
"""Triton's reasons of failures, and the share of the requests that fails so."""
SPREAD = 0.45
"""Standard deviation of the latency's logarithm."""
GIBIBYTE = 1 << 30


def pods(clock: Clock, serve: Serve) -> Iterator[Series]:
    """Yield every series of every pod that the ModelServe had."""
    for release in serve.releases:
        first, past = clock.index(release.began), clock.index(release.ended)
        if first < past:
            for at, pod in enumerate(release.pods(serve.name)):
                yield from _pod(clock.times[first:past], serve, release, pod, at, first, past)


def _pod(
    times: NDArray[np.int64], serve: Serve, release: Release, pod: str, at: int, first: int, past: int
) -> Iterator[Series]:
    random = np.random.default_rng([3, serve.number, release.version, at])
    address = f"10.{serve.number % 200 + 1}.{release.version}.{at + 1}"
    common = {"namespace": serve.namespace, "modelserve": serve.name, "version": str(release.version), "pod": pod}
    triton = {**common, "job": "trainserve-triton", "instance": f"{address}:8002"}
    probe = {**common, "model": serve.model, "job": "trainserve-probe", "instance": f"{address}:9401"}
    load = _load(times, serve, random)
    yield from _triton(times, serve, triton, load, random, first, past)
    yield from _gpu(times, serve, at, triton, load, random, first, past)
    yield from _probe(times, serve, probe, random, first, past)
    for labels in (triton, probe):
        yield from scrape(labels, first, past, 90)


def scrape(labels: Mapping[str, str], first: int, past: int, samples: int) -> Iterator[Series]:
    """Yield the series that Prometheus itself adds to each scrape of a target."""
    for name, value in {
        "up": 1.0,
        "scrape_samples_scraped": float(samples),
        "scrape_samples_post_metric_relabeling": float(samples),
        "scrape_series_added": 0.0,
        "scrape_duration_seconds": 0.006,
    }.items():
        yield Series(name, labels, first, past, value)


def _load(times: NDArray[np.int64], serve: Serve, random: np.random.Generator) -> Floats:
    """Requests per second of one pod: by day and by night, and never quite the same."""
    peak = 4.0 * 1.12**serve.number
    daily = 0.55 + 0.45 * np.sin(2 * np.pi * (times / DAY + serve.number / 24))
    return np.asarray(peak / REPLICAS * daily * random.lognormal(0, 0.15, len(times)))


def _triton(
    times: NDArray[np.int64],
    serve: Serve,
    target: Mapping[str, str],
    load: Floats,
    random: np.random.Generator,
    first: int,
    past: int,
) -> Iterator[Series]:
    labels = {**target, "model": serve.model}
    steps = np.diff(times, prepend=times[0] - 15)
    requests = np.floor(load * steps)
    total = np.cumsum(requests)
    objective = serve.objective or 0.04
    busy = load / load.max()
    latency = objective * (0.2 + 0.25 * busy**2)
    queue = latency * (0.1 + 0.5 * busy)
    batch = 1 + 3 * busy

    def series(name: str, values: Values, **more: str) -> Series:
        return Series(name, {**labels, **more}, first, past, values)

    yield series("nv_inference_request_success", total)
    for reason, share in REASONS.items():
        failed = np.cumsum(random.poisson(requests * share)).astype(float) if share else 0.0
        yield series("nv_inference_request_failure", failed, reason=reason)
    yield series("nv_inference_count", total)
    yield series("nv_inference_exec_count", np.floor(np.cumsum(requests / batch)))
    yield series("nv_inference_pending_request_count", np.floor(load * queue))
    for name, seconds in {
        "request": latency,
        "queue": queue,
        "compute_input": latency * 0.02,
        "compute_infer": (latency - queue) * 0.9,
        "compute_output": latency * 0.02,
    }.items():
        yield series(f"nv_inference_{name}_duration_us", np.floor(np.cumsum(requests * seconds) * 1e6))
    edges = {bound: f"{bound:.16g}" for bound in triton_bounds(serve.objective)}
    yield from histogram(series, TRITON, edges, requests, latency * 1e3)
    for name, value in {
        "nv_cpu_memory_total_bytes": 256.0 * GIBIBYTE,
        "nv_pinned_memory_pool_total_bytes": 268_435_456.0,
        "nv_pinned_memory_pool_used_bytes": 0.0,
    }.items():
        yield Series(name, target, first, past, value)
    yield Series("nv_cpu_utilization", target, first, past, 0.1 + 0.4 * busy)
    yield Series("nv_cpu_memory_used_bytes", target, first, past, np.floor((40 + 30 * busy) * GIBIBYTE))


def histogram(
    series: Maker, name: str, edges: Mapping[float, str], counts: Floats, centre: Floats | float
) -> Iterator[Series]:
    """A classic histogram of `counts` observations at each scrape, lognormal around `centre`.

    `edges` are the buckets' upper bounds, each with its label `le`.
    """
    total = np.cumsum(counts)
    for edge, label in edges.items():
        share = ndtr((np.log(edge) - np.log(centre)) / SPREAD)
        yield series(f"{name}_bucket", np.floor(np.cumsum(counts * share)), le=label)
    yield series(f"{name}_bucket", total, le="+Inf")
    yield series(f"{name}_count", total)
    yield series(f"{name}_sum", np.cumsum(counts * centre * np.exp(SPREAD**2 / 2)))


def python_bounds(edges: Sequence[float]) -> dict[float, str]:
    """Map bounds to the labels that the Python client writes."""
    return {edge: floatToGoString(edge) for edge in edges}


def _gpu(
    times: NDArray[np.int64],
    serve: Serve,
    at: int,
    target: Mapping[str, str],
    load: Floats,
    random: np.random.Generator,
    first: int,
    past: int,
) -> Iterator[Series]:
    labels = {**target, "gpu_uuid": f"GPU-{serve.number:04}-{at}"}
    busy = np.clip(load / load.max() * random.normal(0.75, 0.05, len(load)), 0, 1)
    watts = 90 + 220 * busy
    steps = np.diff(times, prepend=times[0] - 15)
    for name, values in {
        "nv_gpu_utilization": np.round(busy, 2),
        "nv_gpu_memory_total_bytes": 24.0 * GIBIBYTE,
        "nv_gpu_memory_used_bytes": 6.0 * GIBIBYTE,
        "nv_gpu_power_usage": np.round(watts, 1),
        "nv_gpu_power_limit": 350.0,
        "nv_energy_consumption": np.round(np.cumsum(watts * steps), 1),
    }.items():
        yield Series(name, labels, first, past, values)


def _probe(
    times: NDArray[np.int64],
    serve: Serve,
    labels: Mapping[str, str],
    random: np.random.Generator,
    first: int,
    past: int,
) -> Iterator[Series]:
    steps = np.diff(times, prepend=times[0] - 15).astype(float)

    def series(metric: str, values: Values, **more: str) -> Series:
        return Series(metric, {**labels, **more}, first, past, values)

    failed = np.cumsum(random.poisson(steps * 2e-5)).astype(float)
    centre = (serve.objective or 0.04) * 0.2
    yield from histogram(series, M.INFERENCE_DURATION.name, python_bounds(bounds(serve.objective)), steps, centre)
    yield series(M.INFERENCES.name, np.cumsum(steps), result="answered")
    yield series(M.INFERENCES.name, failed, result="failed")
    yield series(M.UP.name, 1.0)
    yield series(M.VERIFIED.name, 1.0)
    for result in ("matched", "mismatched", "failed", "unrecorded"):
        yield series(M.VERIFICATIONS.name, 1.0 if result == "matched" else 0.0, result=result)
    yield series(M.VERIFIED_AT.name, float(times[0]))
    yield series(M.MAX_DIFFERENCE.name, 1.5e-6)
    for metric, value in ((M.CACHE_BYTES, 2.0e9), (M.CACHE_LIMIT, 2.0e10), (M.CACHE_MODELS, 12.0)):
        yield series(metric.name, value)
    yield series(M.CACHE_EVICTIONS.name, 3.0)
