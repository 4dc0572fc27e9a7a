"""Definitions of every metric that TrainServe's processes export.

The processes make their Prometheus objects from these definitions, docs/metrics.md is generated from them, and tests
check that dashboards, rules and `trainserve top` use their names. Only the standard library is imported, since a
training pod answers a scrape before anything heavy is loaded.
"""

from __future__ import annotations

from trainserve.api.metrics import objects, operator, serving, training
from trainserve.api.metrics.definition import Group, Metric

GROUPS: tuple[Group, ...] = (
    serving.PROBE,
    serving.CACHE,
    serving.TUNING,
    operator.PROCESS,
    objects.TRAINJOBS,
    objects.MODELSERVES,
    training.RUN,
)
"""In the order of docs/metrics.md."""
METRICS: dict[str, Metric] = {metric.name: metric for group in GROUPS for metric in group.metrics}
"""By name as scraped."""
