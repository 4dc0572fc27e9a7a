"""One sample of one series, checked before it reaches an exporter, which would fail as a whole."""

from __future__ import annotations

from typing import Any, NamedTuple

from trainserve.api.metrics.definition import Metric
from trainserve.operator import times


class Sample(NamedTuple):
    """A value now, under the metric's labels."""

    metric: Metric
    labels: tuple[str, ...]
    value: float


def sample(metric: Metric, value: Any, *labels: Any) -> Sample:
    """Return the sample. Raises TypeError or ValueError if `value` is no number."""
    return Sample(metric, tuple([_text(label) for label in labels]), float(value))


def seconds(instant: Any) -> float:
    """Return the Unix time of an instant as Kubernetes writes it."""
    return times.from_text(instant).timestamp()


def _text(label: Any) -> str:
    text = label if isinstance(label, str) else "" if label is None else str(label)
    # Half a character (a lone surrogate) cannot be written down.
    return text if text.isascii() else text.encode(errors="replace").decode()
