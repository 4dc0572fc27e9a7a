"""The operator's metrics: every defined metric with the right value, and no more series than allowed."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest
from prometheus_client import generate_latest

from tests.operator.metrics_support import Series, cached, job, read, scraped, series, serve
from tests.operator.support import NOW, SETTINGS
from trainserve.api.metrics import objects, operator
from trainserve.operator.cache import Cache
from trainserve.operator.discovery import Discovery
from trainserve.operator.metrics import Metrics
from trainserve.operator.modelserve.kind import ModelServes
from trainserve.operator.trainjob.kind import TrainJobs
from trainserve.operator.workqueue import Key, KeyQueue
from trainserve.operator.writes import NO_ANSWER, Write


def test_every_metric_that_is_defined_is_exported_and_no_other_under_its_kind() -> None:
    metrics = Metrics(cached(job(), serve()))
    groups = (operator.PROCESS, objects.TRAINJOBS, objects.MODELSERVES)
    defined = {metric.name: (metric.kind, metric.help) for group in groups for metric in group.metrics}
    exported = {}
    for family in read(metrics):
        if not family.name.endswith("_created"):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            exported[name] = (family.type, family.documentation)
            assert family.samples or name == operator.API_WRITES.name, "nothing can be foreseen of writes alone"
    assert exported == defined


def test_a_replica_that_waits_exports_nothing_of_objects() -> None:
    waiting = scraped(Metrics(cached(job(), serve()), leading=lambda: False))
    assert not [name for name, labels in waiting if "namespace" in dict(labels)]
    assert waiting[series("trainserve_leading")] == 0


def test_the_queue_is_read_at_each_scrape() -> None:
    depth = iter((3, 0))
    metrics = Metrics(Cache(), lambda: next(depth), lambda: 1.5)
    assert [scraped(metrics)[series("trainserve_queue_depth")] for _ in range(2)] == [3, 0]


def of_process(metrics: Metrics) -> set[Series]:
    """Return the series that carry no object's name."""
    return {found for found in scraped(metrics) if not {"trainjob", "modelserve"} & dict(found[1]).keys()}


def test_a_thousand_objects_add_no_series_but_their_own_few_which_go_with_them() -> None:
    cache = Cache()
    metrics = Metrics(cache)
    jobs = TrainJobs(SETTINGS, cache, metrics)
    serves = ModelServes(SETTINGS, cache, Discovery(lambda *_: nothing()), metrics)

    def add(number: int) -> None:
        trained, served = job(f"job-{number}"), serve(f"serve-{number}")
        for found in (trained, served):
            cache.put(found["kind"], found)
        jobs.reported(trained | {"status": {}}, trained["status"], NOW)
        if number % 100 == 0:
            serves.reported(served | {"status": {}}, served["status"], NOW)
        metrics.reconciled("TrainJob", "success", 0.01)
        metrics.wrote(Write("patch", "TrainJob", "default", f"job-{number}", status=True), "200")

    add(0)
    before = of_process(metrics)
    for number in range(1, 1000):
        add(number)
    found = scraped(metrics)
    assert of_process(metrics) == before
    assert found[series("trainserve_trainjobs", namespace="default", phase="Running")] == 1000
    assert found[series("trainserve_attempts_total", reason="OutOfMemory")] == 1000
    named = Counter(dict(labels).get("trainjob") or dict(labels).get("modelserve") for _, labels in found)
    del named[None]
    assert len(named) == 2000
    assert max(named.values()) <= objects.SERIES_LIMIT
    for kind in ("TrainJob", "ModelServe"):
        for known in cache.all(kind):
            cache.drop(kind, known)
    assert {name for name, labels in scraped(metrics) if "namespace" in dict(labels)} == set()


async def nothing() -> set[str]:
    return set()


def test_ten_thousand_objects_are_scraped_within_a_scrape_s_time() -> None:
    metrics = Metrics(cached(*(job(f"job-{number}") for number in range(9000)), *map(serve, map(str, range(1000)))))
    begun = time.thread_time()
    text = generate_latest(metrics.registry)
    assert time.thread_time() - begun < 10, "seconds: Prometheus' own default"
    assert text.count(b"trainserve_trainjob_info{") == 9000


@pytest.fixture
def changing() -> Iterator[tuple[Cache, KeyQueue]]:
    """A cache and a queue that another thread keeps changing, as the event loop does."""
    cache, queue, stop = cached(*(job(f"job-{number}") for number in range(300))), KeyQueue(), threading.Event()

    def change() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            made = job(f"other-{number % 50}")
            key = Key("TrainJob", "default", made["metadata"]["name"])
            cache.put("TrainJob", made)
            queue.add(key, time.monotonic())
            cache.drop("TrainJob", made)
            if (taken := queue.take(time.monotonic())) is not None:
                queue.done(taken)

    thread = threading.Thread(target=change)
    thread.start()
    yield cache, queue
    stop.set()
    thread.join()


def test_a_scrape_is_whole_while_the_cache_changes(changing: tuple[Cache, KeyQueue]) -> None:
    cache, queue = changing
    metrics = Metrics(cache, queue.depth, lambda: queue.oldest_age(time.monotonic()))
    for _ in range(10):
        assert generate_latest(metrics.registry).count(b"trainserve_trainjob_info{") >= 300


def test_writes_are_counted_with_their_answer_and_status_writes_when_they_were_taken() -> None:
    metrics = Metrics(Cache())
    status = Write("patch", "TrainJob", "default", "digits", status=True)
    for code in ("200", "200", "404", NO_ANSWER):
        metrics.wrote(status, code)
    metrics.wrote(Write("create", "Pod", "default", None, status=False), "201")
    found = scraped(metrics)
    counted = {
        code: found[series("trainserve_api_writes_total", verb="patch", kind="TrainJob", code=code)]
        for code in ("200", "404", NO_ANSWER)
    }
    assert counted == {"200": 2, "404": 1, NO_ANSWER: 1}
    assert found[series("trainserve_api_writes_total", verb="create", kind="Pod", code="201")] == 1
    assert found[series("trainserve_status_writes_total", kind="TrainJob")] == 2


def test_a_reconcile_is_counted_by_kind_and_result() -> None:
    metrics = Metrics(Cache())
    metrics.reconciled("ModelServe", "error", 0.3)
    found = scraped(metrics)
    assert found[series("trainserve_reconcile_total", kind="ModelServe", result="error")] == 1
    assert found[series("trainserve_reconcile_duration_seconds_bucket", kind="ModelServe", le="0.25")] == 0
    assert found[series("trainserve_reconcile_duration_seconds_bucket", kind="ModelServe", le="0.5")] == 1


def test_a_watch_that_began_again_is_counted_by_kind() -> None:
    metrics = Metrics(Cache())
    metrics.watch_restarted("Pod")
    assert scraped(metrics)[series("trainserve_watch_restarts_total", kind="Pod")] == 1
