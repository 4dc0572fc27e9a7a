"""The run's Prometheus metrics, made from the progress at the moment of the scrape."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily
from prometheus_client.registry import Collector

from trainserve.models import nvml
from trainserve.models.progress import Progress


class _Run(Collector):
    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def collect(self) -> Iterable[Metric]:
        state = self._progress.state
        gauges = {
            "loss": (state.loss, "Mean cross entropy of the running epoch, then of the test split."),
            "accuracy": (state.accuracy, "Share of right answers in the running epoch, then on the test split."),
            "samples_per_second": (state.samples_per_second, "Training samples per second over the run so far."),
            "epoch": (state.epoch, "The running epoch, from 1."),
            "eta_seconds": (state.eta_seconds, "Seconds until the last training step, as the speed so far has it."),
        }
        for name, (value, text) in gauges.items():
            if value is not None:
                yield GaugeMetricFamily(f"trainserve_train_{name}", text, value)
        yield GaugeMetricFamily("trainserve_train_progress_ratio", "Share of the whole run.", state.percent / 100)
        yield CounterMetricFamily("trainserve_train_samples", "Training samples seen.", state.samples)
        yield SummaryMetricFamily(
            "trainserve_train_step_duration_seconds",
            "Optimizer steps and the time they took on the host.",
            count_value=state.step or 0,
            sum_value=state.step_seconds,
        )
        yield from _gpus(state.gpus)


def _gpus(uuids: Iterable[str]) -> Iterable[Metric]:
    """Read from the driver now. A figure that it does not give is absent."""
    busy = GaugeMetricFamily(
        "trainserve_train_gpu_utilization_ratio",
        "Share of the driver's last sampling period in which a kernel ran.",
        labels=["gpu"],
    )
    memory = GaugeMetricFamily(
        "trainserve_train_gpu_memory_used_bytes", "GPU memory in use, by all processes.", labels=["gpu"]
    )
    energy = CounterMetricFamily(
        "trainserve_train_gpu_energy_joules",
        "Energy of the whole board since the driver was loaded: take its increase.",
        labels=["gpu"],
    )
    for uuid in uuids:
        with contextlib.suppress(nvml.Unreadable):
            load = nvml.load(uuid)
            busy.add_metric([uuid], load.utilization)
            memory.add_metric([uuid], load.memory_used)
        with contextlib.suppress(nvml.Unreadable):
            energy.add_metric([uuid], nvml.joules(uuid))
    yield from (family for family in (busy, memory, energy) if family.samples)


def render(progress: Progress) -> bytes:
    """Prometheus text format."""
    registry = CollectorRegistry()
    registry.register(_Run(progress))
    return generate_latest(registry)
