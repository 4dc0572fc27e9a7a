"""A sample of a series, validated before it reaches an exporter: an invalid one would fail the whole scrape."""

from __future__ import annotations

from typing import Any, NamedTuple

from trainserve.api.metrics.definition import Metric
from trainserve.operator import times


class Sample(NamedTuple):
    """The current value of a metric with its label values."""

    metric: Metric
    labels: tuple[str, ...]
    value: float


def sample(metric: Metric, value: Any, *labels: Any) -> Sample:
    """Return the sample. Raises TypeError or ValueError if `value` is not a number."""
    return Sample(metric, tuple([_text(label) for label in labels]), float(value))


def seconds(instant: Any) -> float:
    """Return the Unix time, in seconds, of an instant in Kubernetes' text form."""
    return times.from_text(instant).timestamp()


def _text(label: Any) -> str:
    text = label if isinstance(label, str) else "" if label is None else str(label)
    # A lone surrogate cannot be encoded.
    return text if text.isascii() else text.encode(errors="replace").decode()
