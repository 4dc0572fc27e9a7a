"""All metrics of the operator: the counters of its process, and series of individual objects.

Series of individual objects are made from the cache at each scrape (`object_metrics`).
"""

from __future__ import annotations

from collections.abc import Callable

from trainserve.api.reasons import OF_ATTEMPTS
from trainserve.operator.cache import Cache
from trainserve.operator.counters import Counters
from trainserve.operator.object_metrics import ObjectMetrics


class Metrics(Counters):
    """Counters together with the series of the objects in `cache`, in one registry."""

    def __init__(
        self,
        cache: Cache,
        depth: Callable[[], int] = lambda: 0,
        oldest_age: Callable[[], float] = lambda: 0.0,
        leading: Callable[[], bool] = lambda: True,
    ) -> None:
        super().__init__(depth, oldest_age, leading)
        for reason in OF_ATTEMPTS:
            self.attempts.labels(reason)
        self.registry.register(ObjectMetrics(cache, leading))
