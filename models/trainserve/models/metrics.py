"""The run's Prometheus metrics, computed from the progress at each scrape.

`trainserve.api.metrics.training` defines them with their help texts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily
from prometheus_client.registry import Collector

from trainserve.api.metrics import training as defined
from trainserve.api.metrics.definition import Metric as Defined
from trainserve.models import nvml
from trainserve.models.progress import Progress, State


class _Run(Collector):
    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def collect(self) -> Iterable[Metric]:
        state = self._progress.state
        for metric, value in _gauges(state).items():
            if value is not None:
                yield GaugeMetricFamily(metric.name, metric.help, value)
        if state.samples or state.step:  # not before: a jump from 0 to a checkpoint's count would be an absurd rate
            name, told = defined.STEP_DURATION.name, defined.STEP_DURATION.help
            yield CounterMetricFamily(defined.SAMPLES.name, defined.SAMPLES.help, state.samples)
            yield SummaryMetricFamily(name, told, count_value=state.step or 0, sum_value=state.step_seconds)
        yield from _gpus(state.gpus)


def _gauges(state: State) -> dict[Defined, float | None]:
    """Gauges and their values; None is unknown and left out, a NaN loss stays NaN."""
    return {
        defined.LOSS: state.loss,
        defined.ACCURACY: state.accuracy,
        defined.SAMPLES_PER_SECOND: state.samples_per_second,
        defined.EPOCH: state.epoch,
        defined.EPOCHS: state.epochs,
        defined.PROGRESS: state.percent / 100,
        defined.ETA: state.eta_seconds,
        defined.CHECKPOINT: state.checkpoint,
    }


def _gpus(uuids: Iterable[str]) -> Iterable[Metric]:
    """GPU metrics read from the driver now; values that it does not report are left out."""
    metrics = (defined.GPU_UTILIZATION, defined.GPU_MEMORY)
    busy, memory = (GaugeMetricFamily(metric.name, metric.help, labels=metric.labels) for metric in metrics)
    energy = CounterMetricFamily(defined.GPU_ENERGY.name, defined.GPU_ENERGY.help, labels=defined.GPU_ENERGY.labels)
    for uuid in uuids:
        with contextlib.suppress(nvml.Unreadable):
            load = nvml.load(uuid)
            busy.add_metric([uuid], load.utilization)
            memory.add_metric([uuid], load.memory_used)
        with contextlib.suppress(nvml.Unreadable):
            energy.add_metric([uuid], nvml.joules(uuid))
    yield from (family for family in (busy, memory, energy) if family.samples)


def render(progress: Progress) -> bytes:
    """The metrics in Prometheus text format."""
    registry = CollectorRegistry()
    registry.register(_Run(progress))
    return generate_latest(registry)
