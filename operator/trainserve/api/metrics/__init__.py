"""Every metric that a process of ours exports, defined once.

The processes make their Prometheus objects from these definitions; docs/metrics.md is generated from them; dashboards,
rules and `trainserve top` are held to their names by tests. The standard library alone is imported: a training pod
answers a scrape before anything heavy is loaded.
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
