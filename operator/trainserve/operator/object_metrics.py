"""Series of each TrainJob and ModelServe, made from the cache at each scrape, so that they end with the object."""

from __future__ import annotations

import logging
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from trainserve.api.metrics import objects, operator
from trainserve.api.metrics.definition import Metric as Definition
from trainserve.operator.cache import Cache
from trainserve.operator.logs import about
from trainserve.operator.modelserve.samples import samples as of_modelserve
from trainserve.operator.objects import Object
from trainserve.operator.sample import Sample
from trainserve.operator.trainjob.samples import samples as of_trainjob
from trainserve.operator.workqueue import Key

logger = logging.getLogger(__name__)


class ObjectMetrics(Collector):
    """Collector of these series. It exports them only while this replica leads: each further replica would count every
    object again."""

    def __init__(self, cache: Cache, leading: Callable[[], bool]) -> None:
        self._cache, self._leading = cache, leading

    def collect(self) -> Iterable[Metric]:
        """Yield the metric families. This runs in the thread that serves the scrape, which is safe because the cache
        returns copies of its lists and replaces the objects in them instead of changing them."""
        if not self._leading():
            return
        jobs, serves = objects.TRAINJOBS.metrics, objects.MODELSERVES.metrics
        yield from families(jobs, objects.TRAINJOB_PHASE, operator.TRAINJOBS_BY_PHASE, self._trainjobs())
        yield from families(serves, objects.MODELSERVE_PHASE, operator.MODELSERVES_BY_PHASE, self._modelserves())

    def _trainjobs(self) -> Iterator[Sample]:
        for job in self._cache.all("TrainJob"):
            yield from readable(job, of_trainjob(job))

    def _modelserves(self) -> Iterator[Sample]:
        for serve in self._cache.all("ModelServe"):
            children = self._cache.children(Key("ModelServe", *_place(serve)))
            yield from readable(serve, of_modelserve(serve, children))


def families(
    metrics: Iterable[Definition], phase: Definition, by_phase: Definition, samples: Iterable[Sample]
) -> Iterator[Metric]:
    """Yield one family for each metric, and the family `by_phase`, counted from the samples of the metric `phase`.

    The client's own form of a sample is large, so a family is made only after the previous one has been written.
    """
    found: dict[str, list[Sample]] = {metric.name: [] for metric in metrics}
    for sample in samples:
        found[sample.metric.name].append(sample)
    phases = Tally((namespace, now) for _, (namespace, _, now, _), _ in found[phase.name])
    for metric in metrics:
        yield _family(metric, ((labels, value) for _, labels, value in found.pop(metric.name)))
    yield _family(by_phase, phases.items())


def _family(metric: Definition, series: Iterable[tuple[Sequence[str], float]]) -> Metric:
    family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, value in series:
        family.add_metric(labels, value)
    return family


def readable(owner: Object, samples: Iterator[Sample]) -> list[Sample]:
    """Return the samples of one object, or none if its spec or status is unreadable, so that the other objects keep
    theirs."""
    try:
        return list(samples)
    except Exception as error:
        extra = about(owner["kind"], *_place(owner))
        logger.debug("%s %s/%s has no metrics: %r", owner["kind"], *_place(owner), error, extra=extra)
        return []


def _place(owner: Object) -> tuple[str, str]:
    return owner["metadata"]["namespace"], owner["metadata"]["name"]
