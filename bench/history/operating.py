"""Series of the operator: of its own process, and of each TrainJob and ModelServe that exists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from bench.history.clock import Clock
from bench.history.fleet import REPLICAS, Job, Serve
from bench.history.series import Series, Values
from bench.history.serving import Maker, histogram, python_bounds, scrape
from trainserve.api.latency_buckets import objective_buckets
from trainserve.api.metrics import objects, operator
from trainserve.api.metrics.definition import Metric

KINDS = ("TrainJob", "ModelServe")
TARGET = {
    "pod": "trainserve-operator-6d5f7c9b8-x2x7k",
    "job": "trainserve-operator",
    "instance": "10.250.0.9:9090",
}
HERE = {"namespace": "trainserve-system", **TARGET}


def of_job(clock: Clock, job: Job) -> Iterator[Series]:
    """Yield a TrainJob's series, from its creation on: it is never deleted."""
    created, began, ended = (clock.index(when) for when in (job.created, job.began, job.ended))
    past = len(clock.times)
    labels = {"namespace": job.namespace, "trainjob": job.name, **TARGET}

    def series(metric: Metric, values: Values, first: int = created, until: int = past, **more: str) -> Series:
        return Series(metric.name, {**labels, **more}, first, min(until, past), values)

    end, reason = ("Complete", "Succeeded") if job.succeeds else ("Failed", "CrashLoop")
    yield series(objects.TRAINJOB_INFO, 1.0, network=job.network, model=job.model)
    yield series(objects.TRAINJOB_PHASE, 1.0, created, began, phase="Unschedulable", reason="Unschedulable")
    yield series(objects.TRAINJOB_PHASE, 1.0, began, ended, phase="Running", reason="Running")
    yield series(objects.TRAINJOB_PHASE, 1.0, ended, phase=end, reason=reason)
    yield series(objects.TRAINJOB_CREATED, round(job.created, 0))
    yield series(objects.TRAINJOB_ATTEMPTS, 1.0)
    yield series(objects.TRAINJOB_GPUS, float(job.gpus), created, ended)
    yield series(objects.TRAINJOB_ATTEMPT_END, round(job.ended, 0), ended, attempt="1", reason=reason)
    for first, until, final in ((began, min(ended, past), False), (ended, past, True)):
        if first < until:
            yield from _progress(clock.times[first:until], job, labels, first, until, final)
    if job.succeeds:
        yield series(objects.TRAINJOB_VERSION, float(job.version), ended, model=job.model)
        yield series(objects.TRAINJOB_ENERGY, round((job.ended - job.began) * 300.0 * job.gpus, 0), ended)


def _progress(
    times: NDArray[np.int64], job: Job, labels: Mapping[str, str], first: int, until: int, final: bool
) -> Iterator[Series]:
    done = np.floor(100 * (times - job.began) / (job.ended - job.began)) / 100
    values: dict[str, Values] = {
        objects.TRAINJOB_PROGRESS.name: 1.0 if final else done,
        objects.TRAINJOB_PROGRESS_TIME.name: round(job.ended, 0) if final else times.astype(float),
        objects.TRAINJOB_ACCURACY.name: 0.97 if final else 0.6 + 0.37 * done,
    }
    for name, series in values.items():
        yield Series(name, labels, first, until, series)


def of_serve(clock: Clock, serve: Serve) -> Iterator[Series]:
    """Yield a ModelServe's series, for all the time: it is never deleted."""
    past = len(clock.times)
    labels = {"namespace": serve.namespace, "modelserve": serve.name, **TARGET}

    def series(metric: Metric, values: Values, first: int = 0, until: int = past, **more: str) -> Series:
        return Series(metric.name, {**labels, **more}, first, until, values)

    for release in serve.releases:
        first, until = clock.index(release.began), min(clock.index(release.ended), past)
        known = {"version": str(release.version), "digest": release.digest[:12]}
        shape = {"model": serve.model, "instances": "1", "max_batch": "32"}
        yield series(objects.MODELSERVE_INFO, 1.0, first, until, **known, **shape)
        yield series(objects.MODELSERVE_SINCE, float(round(release.began)), first, until, **known)
    yield series(objects.MODELSERVE_PHASE, 1.0, phase="Ready", reason="Serving")
    yield series(objects.MODELSERVE_DESIRED, float(REPLICAS))
    yield series(objects.MODELSERVE_READY, float(REPLICAS))
    yield series(objects.MODELSERVE_VERIFIED, 1.0)
    yield series(objects.MODELSERVE_GPUS, float(REPLICAS))
    if serve.objective:
        yield series(objects.MODELSERVE_OBJECTIVE, serve.objective)
        for family, bound in objective_buckets(serve.objective):
            yield series(objects.MODELSERVE_OBJECTIVE_BUCKET, 1.0, family=family, le=bound)


def of_process(clock: Clock, jobs: Sequence[Job], serves: Sequence[Serve]) -> Iterator[Series]:
    """Yield the series of the operator's process, which have no object's name."""
    times, past = clock.times, len(clock.times)
    random = np.random.default_rng(5)
    steps = np.diff(times, prepend=times[0] - 15).astype(float)
    created = np.diff(np.searchsorted([job.created for job in jobs], times), prepend=0).astype(float)
    ended = np.searchsorted(np.sort([job.ended for job in jobs]), times).astype(float)

    def series(name: str, values: Values, **more: str) -> Series:
        return Series(name, {**HERE, **more}, 0, past, values)

    for kind in KINDS:
        reconciles = random.poisson(steps * 0.2).astype(float)
        yield series(operator.RECONCILES.name, np.cumsum(reconciles), kind=kind, result="success")
        errors = np.cumsum(random.poisson(steps * 1e-4)).astype(float)
        yield series(operator.RECONCILES.name, errors, kind=kind, result="error")
        yield from _histogram(series, operator.RECONCILE_DURATION, reconciles, 0.012, kind=kind)
        yield series(operator.STATUS_WRITES.name, np.cumsum(random.poisson(steps * 0.05)).astype(float), kind=kind)
        yield series(operator.WATCH_RESTARTS.name, np.floor(np.arange(past) / 240), kind=kind)
        for verb, code in (("apply", "200"), ("create", "201"), ("patch", "200"), ("patch", "409"), ("delete", "200")):
            writes = np.cumsum(random.poisson(steps * 0.02)).astype(float)
            yield series(operator.API_WRITES.name, writes, verb=verb, kind=kind, code=code)
    yield from _histogram(series, operator.PENDING, created, 240.0)
    yield from _histogram(series, operator.PUBLISH_TO_SERVING, created, 25.0)
    for reason in ("Succeeded", "CrashLoop", "OOMKilled", "NodeLost"):
        yield series(operator.ATTEMPTS.name, np.floor(ended * (0.94 if reason == "Succeeded" else 0.02)), reason=reason)
    yield series(operator.PUBLISHED.name, np.floor(ended * 0.94))
    yield series(operator.ROLLOUTS.name, np.floor(ended / 7), outcome="completed")
    yield series(operator.ROLLOUTS.name, np.floor(ended / 90), outcome="failed")
    gauges: list[tuple[Metric, Values]] = [
        (operator.QUEUE_DEPTH, random.poisson(1.5, past).astype(float)),
        (operator.QUEUE_AGE, np.round(random.exponential(0.2, past), 3)),
        (operator.LEADING, 1.0),
        (operator.MEMORY, np.linspace(1.2e8, 1.4e8, past).round()),
        (operator.STARTED, float(clock.start - 1000)),
        (operator.CPU, np.round(np.cumsum(steps) * 0.04, 2)),
        (operator.VIRTUAL_MEMORY, 9.0e8),
        (operator.OPEN_FILES, 24.0),
        (operator.MOST_FILES, 1_048_576.0),
    ]
    for metric, value in gauges:
        yield series(metric.name, value)
    yield from _phases(times, jobs, serves)
    yield from scrape(HERE, 0, past, 12_000)
    for name, bytes_ in (("capacity", 1e12), ("used", 4.2e11), ("available", 5.8e11)):
        claim = {"namespace": "trainserve-system", "persistentvolumeclaim": "trainserve-store", "job": "kubelet"}
        yield Series(f"kubelet_volume_stats_{name}_bytes", claim, 0, past, bytes_)


def _histogram(
    series: Maker, metric: Metric, counts: NDArray[np.float64], centre: float, **labels: str
) -> Iterator[Series]:
    def labelled(name: str, values: Values, **more: str) -> Series:
        return series(name, values, **labels, **more)

    yield from histogram(labelled, metric.name, python_bounds(metric.buckets), counts, centre)


def _phases(times: NDArray[np.int64], jobs: Sequence[Job], serves: Sequence[Serve]) -> Iterator[Series]:
    def each(metric: Metric, namespace: str, phase: str, values: Values) -> Series:
        labels = {**TARGET, "namespace": namespace, "phase": phase}
        return Series(metric.name, labels, 0, len(times), values)

    for namespace in sorted({job.namespace for job in jobs}):
        here = [job for job in jobs if job.namespace == namespace]
        created = _reached(times, [job.created for job in here])
        began = _reached(times, [job.began for job in here])
        good = _reached(times, [job.ended for job in here if job.succeeds])
        bad = _reached(times, [job.ended for job in here if not job.succeeds])
        for phase, count in {
            "Unschedulable": created - began,
            "Running": began - good - bad,
            "Complete": good,
            "Failed": bad,
        }.items():
            yield each(operator.TRAINJOBS_BY_PHASE, namespace, phase, count)
    for namespace, number in Counter(serve.namespace for serve in serves).items():
        yield each(operator.MODELSERVES_BY_PHASE, namespace, "Ready", float(number))


def _reached(times: NDArray[np.int64], when: Sequence[float]) -> NDArray[np.float64]:
    """Return how many of `when` have passed at each of `times`."""
    return np.searchsorted(np.sort(np.asarray(when)), times, side="right").astype(float)
