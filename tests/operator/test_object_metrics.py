"""Metrics exported for each TrainJob and ModelServe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest

from tests.operator.metrics_support import cached, job, read, scraped, serve, true
from tests.operator.support import DIGEST, OTHER_DIGEST, at, trainjob
from trainserve.api import latency_buckets
from trainserve.operator.metrics import Metrics
from trainserve.operator.modelserve import samples as modelserve
from trainserve.operator.modelserve import version as versions
from trainserve.operator.modelserve.version import Version
from trainserve.operator.objects import Object
from trainserve.operator.sample import Sample, seconds
from trainserve.operator.trainjob import samples as trainjobs

SHORT, OTHER_SHORT = "ab" * 6, "cd" * 6


def deployment(version: Version, serve: str = "web") -> Object:
    named = {"name": f"{serve}-{version.suffix}", "namespace": "default", "uid": version.suffix, "resourceVersion": "1"}
    owner = {"apiVersion": "trainserve.io/v1alpha1", "kind": "ModelServe", "name": serve, "uid": "serve-uid"}
    annotations = {versions.ANNOTATION: versions.write(version)}
    return {
        "kind": "Deployment",
        "metadata": named | {"ownerReferences": [owner], "annotations": annotations},
        "spec": {},
    }


def values(samples: Iterable[Sample]) -> dict[str, Any]:
    """Return, by metric name without its prefix, the value, or (labels that do not name the object, …, value)."""
    found: dict[str, Any] = {}
    for sample in samples:
        assert sample.labels[0] == "default"
        assert len(sample.labels) == len(sample.metric.labels)
        name, rest = sample.metric.name.split("_", 2)[2], sample.labels[2:]
        found.setdefault(name, []).append((*rest, sample.value) if rest else sample.value)
    return {name: each[0] if len(each) == 1 else each for name, each in found.items()}


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
