"""What the operator exports: every metric of its definitions, the right values, and no more series than it may."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from prometheus_client import Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tests.operator.support import DIGEST, NOW, OTHER_DIGEST, SETTINGS, at, trainjob
from trainserve.api import latency_buckets
from trainserve.api.metrics import objects, operator
from trainserve.operator.cache import Cache
from trainserve.operator.discovery import Discovery
from trainserve.operator.metrics import Metrics
from trainserve.operator.modelserve import samples as modelserve
from trainserve.operator.modelserve import version as versions
from trainserve.operator.modelserve.kind import ModelServes
from trainserve.operator.modelserve.version import Version
from trainserve.operator.objects import Object
from trainserve.operator.sample import Sample, seconds
from trainserve.operator.trainjob import samples as trainjobs
from trainserve.operator.trainjob.kind import TrainJobs
from trainserve.operator.workqueue import Key, KeyQueue
from trainserve.operator.writes import NO_ANSWER, Write

SHORT, OTHER_SHORT = "ab" * 6, "cd" * 6
Series = tuple[str, frozenset[tuple[str, str]]]
"""A sample's name and its labels."""


def true(kind: str, reason: str, status: str = "True") -> Object:
    return {"type": kind, "status": status, "reason": reason, "message": "m"}


def job(name: str = "digits", **changes: Any) -> Object:
    """A TrainJob that has everything a metric is made of: its second attempt runs."""
    attempts = [
        {"number": 1, "startTime": at(0), "completionTime": at(60), "reason": "OutOfMemory"},
        {"number": 2, "startTime": at(70)},
    ]
    status: Object = {
        "phase": "Running",
        "conditions": [true("Accepted", "Accepted"), true("Scheduled", "Scheduled"), true("Running", "Running")],
        "attempts": attempts,
        "progress": {"percent": 40, "updatedTime": at(100), "accuracy": 0.5},
        "result": {"accuracy": 0.97, "energyJoules": 3600.0},
        "artifact": {"uri": "file:///srv/models/default/digits/3", "version": 3, "digest": DIGEST},
    }
    made = trainjob(name, uid=f"{name}-uid", resources={"gpus": 2}, workers={"nodes": 3})
    made["metadata"]["creationTimestamp"] = at(-10)
    return made | {"status": status | changes.pop("status", {})} | changes


def serve(name: str = "web", **changes: Any) -> Object:
    """A ModelServe that has everything: it serves the first version with an objective, and tuned."""
    status: Object = {
        "phase": "Ready",
        "conditions": [
            true("Accepted", "Accepted"),
            true("Progressing", "UpToDate", "False"),
            true("Verified", "SamplesMatch"),
            true("Ready", "Serving"),
        ],
        "version": 3,
        "digest": DIGEST,
        "replicas": {"desired": 2, "ready": 1},
        "tuning": {"held": True, "instances": 4, "maxBatch": 8},
        "history": [
            {"version": 2, "digest": OTHER_DIGEST, "time": at(0)},
            {"version": 3, "digest": DIGEST, "time": at(9)},
        ],
    }
    spec: Object = {"model": {"name": "digits"}, "replicas": 2, "resources": {"gpus": 1}, "slo": {"p99": "1s"}}
    named = {"name": name, "namespace": "default", "uid": f"{name}-uid", "resourceVersion": "1", "generation": 1}
    made = {"kind": "ModelServe", "metadata": named | {"creationTimestamp": at(-5)}, "spec": spec}
    return made | {"status": status | changes.pop("status", {})} | changes


def deployment(version: Version, serve: str = "web") -> Object:
    named = {"name": f"{serve}-{version.suffix}", "namespace": "default", "uid": version.suffix, "resourceVersion": "1"}
    owner = {"apiVersion": "trainserve.io/v1alpha1", "kind": "ModelServe", "name": serve, "uid": "serve-uid"}
    annotations = {versions.ANNOTATION: versions.write(version)}
    return {
        "kind": "Deployment",
        "metadata": named | {"ownerReferences": [owner], "annotations": annotations},
        "spec": {},
    }


def cached(*objects: Object) -> Cache:
    cache = Cache()
    for found in objects:
        cache.put(found["kind"], found)
    return cache


def read(metrics: Metrics) -> list[Metric]:
    """As a Prometheus reads it."""
    return list(text_string_to_metric_families(generate_latest(metrics.registry).decode()))


def scraped(metrics: Metrics) -> dict[Series, float]:
    """Every series but for when each began; not from the text, which takes long to parse."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def series(name: str, **labels: str) -> Series:
    return name, frozenset(labels.items())


def values(samples: Iterable[Sample]) -> dict[str, Any]:
    """By the metric's name without its prefix: the value, or the value with the labels that do not name the object."""
    found: dict[str, Any] = {}
    for sample in samples:
        assert sample.labels[0] == "default"
        assert len(sample.labels) == len(sample.metric.labels)
        name, rest = sample.metric.name.split("_", 2)[2], sample.labels[2:]
        found.setdefault(name, []).append((*rest, sample.value) if rest else sample.value)
    return {name: each[0] if len(each) == 1 else each for name, each in found.items()}


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


def test_a_trainjob_in_series() -> None:
    assert values(trainjobs.samples(job())) == {
        "info": ("convnet", "digits", 1),
        "phase": ("Running", "Running", 1),
        "created_timestamp_seconds": seconds(at(-10)),
        "attempts": 2,
        "attempt_end_timestamp_seconds": ("1", "OutOfMemory", seconds(at(60))),
        "gpus_requested": 6,
        "progress_ratio": 0.4,
        "progress_timestamp_seconds": seconds(at(100)),
        "accuracy": 0.97,
        "published_version": ("digits", 3),
        "energy_joules": 3600,
    }


def test_a_trainjob_that_is_new_has_no_figures_that_nobody_knows() -> None:
    made = trainjob(model={"command": ["true"], "image": "mine"}, output=None, dataset=None)
    made["metadata"]["creationTimestamp"] = at(0)
    assert values(trainjobs.samples(made)) == {
        "info": ("command", "", 1),
        "phase": ("New", "", 1),
        "created_timestamp_seconds": seconds(at(0)),
        "attempts": 0,
        "gpus_requested": 0,
    }


@pytest.mark.parametrize("phase", ["Complete", "Failed", "Refused"])
def test_a_trainjob_that_is_over_asks_for_no_gpus(phase: str) -> None:
    assert "gpus_requested" not in values(trainjobs.samples(job(status={"phase": phase})))


def test_accuracy_is_of_the_running_epoch_until_there_is_a_result() -> None:
    assert values(trainjobs.samples(job(status={"result": {}})))["accuracy"] == 0.5


def test_a_script_is_told_as_such() -> None:
    spec = {"model": {"script": "configmap://mine/train.py"}}
    assert values(trainjobs.samples(job(spec=spec)))["info"] == ("script", "", 1)


def test_a_modelserve_in_series() -> None:
    assert values(modelserve.samples(serve(), [])) == {
        "info": ("digits", "3", SHORT, "4", "8", 1),
        "phase": ("Ready", "Serving", 1),
        "replicas_desired": 2,
        "replicas_ready": 1,
        "verified": 1,
        "gpus_requested": 2,
        "objective_p99_seconds": 1,
        "objective_bucket": [(family, le, 1) for family, le in latency_buckets.objective_buckets(1)],
        "traffic_since_timestamp_seconds": ("3", SHORT, seconds(at(9))),
    }


def test_a_modelserve_that_is_new_serves_nothing_yet() -> None:
    made = serve(spec={"model": {"trainJob": "digits"}})
    del made["status"]
    assert values(modelserve.samples(made, [])) == {
        "info": ("", "", "", "1", "64", 1),
        "phase": ("New", "", 1),
        "replicas_desired": 1,
        "replicas_ready": 0,
        "gpus_requested": 0,
    }


@pytest.mark.parametrize(("status", "value"), [("True", 1), ("False", 0), ("Unknown", None)])
def test_verified_is_absent_while_it_is_not_known(status: str, value: int | None) -> None:
    found = values(modelserve.samples(serve(status={"conditions": [true("Verified", "r", status)]}), []))
    assert found.get("verified") == value


def test_the_model_is_that_of_the_deployment_which_takes_traffic() -> None:
    children = [
        deployment(Version("other", 4, "file:///srv/models/default/other/4", OTHER_DIGEST)),
        deployment(Version("numbers", 3, "file:///srv/models/default/numbers/3", DIGEST)),
    ]
    assert values(modelserve.samples(serve(spec={"model": {"trainJob": "t"}}), children))["info"][0] == "numbers"


def test_settings_that_hold_no_objective_are_not_told_as_served() -> None:
    spec = serve()["spec"] | {"triton": {"instances": 2, "dynamicBatching": {"maxBatch": 16}}}
    failed = serve(spec=spec, status={"tuning": {"held": False, "instances": 4, "maxBatch": 8}})
    assert values(modelserve.samples(failed, []))["info"][3:5] == ("2", "16")


@pytest.mark.parametrize(("p99", "seconds"), [("20ms", 0.02), ("2.5ms", 0.0025), ("500us", 0.0005), ("1s", 1)])
def test_an_objective_is_told_with_the_labels_that_end_its_bucket(p99: str, seconds: float) -> None:
    found = values(modelserve.samples(serve(spec=serve()["spec"] | {"slo": {"p99": p99}}), []))
    assert found["objective_p99_seconds"] == seconds
    told = found["objective_bucket"]
    assert tuple((family, le) for family, le, _ in told) == latency_buckets.objective_buckets(seconds)


GARBAGE: list[Object] = [
    {"phase": 7, "attempts": [{}]},
    {"phase": {"of": "something"}, "attempts": {"number": 1}},
    {"artifact": {"version": "third"}},
    {"artifact": {"version": 10**400}},
    {"progress": {"percent": "most"}},
    {"progress": {"updatedTime": "yesterday"}},
    {"conditions": [7]},
    {"history": [{"digest": 5, "time": "never"}]},
    {"replicas": {"ready": "one"}},
    {"digest": ["sha256"]},
]


@pytest.mark.parametrize("status", GARBAGE, ids=range(len(GARBAGE)))
def test_an_object_that_cannot_be_read_costs_no_other_its_series(status: Object) -> None:
    objects = job("bad", status=status), job("good"), serve("worse", status=status), serve("fine")
    metrics = Metrics(cached(*objects))
    assert read(metrics)
    found = scraped(metrics)
    named = Counter(dict(labels).get("trainjob") or dict(labels).get("modelserve") for _, labels in found)
    assert (named["good"], named["fine"]) == (11, 11)


def test_whatever_is_in_a_label_can_be_scraped() -> None:
    words = 'a "quoted"\nand \\ broken\tname, é, \ud800'
    phases = job(status={"phase": words})
    (found,) = [family for family in read(Metrics(cached(phases))) if family.name == "trainserve_trainjob_phase"]
    assert found.samples[0].labels["phase"] == words.replace("\ud800", "?")


def of_process(metrics: Metrics) -> set[Series]:
    """Series that name no object."""
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
    """A cache and a queue that another thread, as the event loop is one, goes on changing."""
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
