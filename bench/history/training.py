"""Series of a training pod."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bench.history.clock import Clock
from bench.history.fleet import Job
from bench.history.series import Series, Values
from bench.history.serving import scrape
from trainserve.api.metrics import training as M

EPOCHS = 30


def pod(clock: Clock, job: Job) -> Iterator[Series]:
    """Yield every series of rank 0's pod, while it runs."""
    first, past = clock.index(job.began), clock.index(job.ended)
    if first >= past:
        return
    times = clock.times[first:past]
    random = np.random.default_rng([4, job.number])
    address = f"10.{job.number % 250 + 1}.{job.number // 250 + 100}.9:9400"
    labels = {"namespace": job.namespace, "trainjob": job.name, "model": job.model, "attempt": "1", "pod": job.pod}
    labels |= {"job": "trainserve-training", "instance": address}
    lasted = np.asarray(times - job.began)
    done = lasted / (job.ended - job.began)
    speed = 400.0 * job.gpus * random.lognormal(0, 0.3)
    samples = np.floor(lasted * speed)
    loss = 2.3 * np.exp(-3 * done) + 0.1 * random.random(len(times))
    values: dict[str, Values] = {
        M.LOSS.name: loss,
        M.ACCURACY.name: 0.97 - 0.4 * loss / 2.4,
        M.SAMPLES_PER_SECOND.name: speed,
        M.SAMPLES.name: samples,
        f"{M.STEP_DURATION.name}_count": np.floor(samples / 64),
        f"{M.STEP_DURATION.name}_sum": lasted * 0.9,
        M.EPOCH.name: np.floor(done * EPOCHS) + 1,
        M.EPOCHS.name: float(EPOCHS),
        M.PROGRESS.name: done,
        M.ETA.name: np.asarray(job.ended - times),
        M.CHECKPOINT.name: np.floor(times / 600) * 600,
    }
    for name, series in values.items():
        yield Series(name, labels, first, past, series)
    for gpu in range(job.gpus):
        busy = np.clip(random.normal(0.85, 0.08, len(times)), 0, 1)
        energy = np.floor(lasted * (150 + 200 * busy.mean()))
        for name, series in {
            M.GPU_UTILIZATION.name: np.round(busy, 2),
            M.GPU_MEMORY.name: 18.0 * (1 << 30),
            M.GPU_ENERGY.name: energy,
        }.items():
            yield Series(name, {**labels, "gpu": str(gpu)}, first, past, series)
    yield from scrape(labels, first, past, 40)
