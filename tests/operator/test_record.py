"""The record of published versions: its entries never change, and a version that contradicts it is rejected."""

from __future__ import annotations

from typing import Any

import pytest

from tests.operator.serving import FIRST, SUFFIX, Serve, artifact
from tests.operator.support import DIGEST, NOW, OTHER_DIGEST, PUBLISHED, SETTINGS, Run, condition, ended, trainjob
from trainserve.operator import record
from trainserve.operator.cache import Cache, trim
from trainserve.operator.metrics import Metrics
from trainserve.operator.objects import Object
from trainserve.operator.observer import recorded
from trainserve.operator.trainjob.kind import TrainJobs
from trainserve.operator.workqueue import Key


def nothing(model: str, version: int) -> None:
    """Return None for every version, as an empty record does."""


def entry(model: str = "digits", version: int = 1, digest: str = DIGEST) -> Object:
    (made,) = record.missing(nothing, "default", model, version, digest)
    return made


def cached(*entries: Object) -> Cache:
    cache = Cache()
    for number, each in enumerate(entries):
        known = {"uid": each["metadata"]["name"], "resourceVersion": str(number + 1)}
        cache.put(each["kind"], each | {"metadata": each["metadata"] | known})
    return cache


def test_a_version_is_recorded_in_an_object_that_nobody_owns() -> None:
    made = entry()
    assert "ownerReferences" not in made["metadata"]
    assert made["data"] == {"1": DIGEST}
    known = record.digests(cached(made), "default")
    assert (known("digits", 1), known("digits", 2), known("letters", 1)) == (DIGEST, None, None)
    assert record.digests(cached(made), "other")("digits", 1) is None
    assert record.missing(known, "default", "digits", 1, OTHER_DIGEST) == [], "what is recorded is never written again"


def test_no_page_grows_without_bound_and_no_two_models_share_one() -> None:
    names = {
        entry(model, version)["metadata"]["name"]
        for model in ("digits", "digits-1", "digits-0")
        for version in (1, 999, 1000, 1999, 999_999_999)
    }
    assert len(names) == 9
    assert all(len(name) <= 253 for name in names)


def test_of_a_record_that_somebody_has_edited_the_cache_keeps_no_more_than_the_operator_writes() -> None:
    large = entry() | {"data": {str(number): "x" * 79 for number in range(5000)} | {"note": "x" * 500_000}}
    assert len(trim("ConfigMap", large)["data"]) == 1000
    run = {"metadata": {"name": "digits-1", "namespace": "default"}, "data": {"config.json": "x"}}
    assert "data" not in trim("ConfigMap", run)


def completed(name: str = "digits") -> Object:
    run = Run(trainjob(name=name))
    run.step()
    run.set(run.pods()[0], ended(0, PUBLISHED))
    run.step(20)
    return run.job


def planned(cache: Cache, job: Object) -> list[Object]:
    kind = TrainJobs(SETTINGS, cache, Metrics(cache))
    return kind.plan(kind.observe(job, [], {}), NOW).record


def test_what_a_run_has_published_is_recorded_with_its_end_and_once() -> None:
    job = completed()
    assert planned(Cache(), job) == [entry()]
    assert planned(cached(entry()), job) == []
    assert planned(cached(entry(digest=OTHER_DIGEST)), job) == [], "the first one stays"
    assert planned(Cache(), trainjob()) == []


def test_whoever_publishes_or_follows_a_model_is_woken_when_its_record_is_gone() -> None:
    cache = cached(completed(), completed("other") | {"spec": trainjob(output={"model": "letters"})["spec"]})
    serve = Serve().object
    cache.put("ModelServe", serve | {"metadata": serve["metadata"] | {"name": "web", "resourceVersion": "9"}})
    woken = set(recorded("ConfigMap", entry(), cache))
    assert woken == {Key("TrainJob", "default", "digits"), Key("ModelServe", "default", "web")}


def following(known: dict[int, str], *jobs: Object, **spec: Any) -> Serve:
    serve = Serve(*jobs, **spec)
    serve.digests = lambda model, version: known.get(version)
    return serve


def answer(serve: Serve, version: int, digest: str, **more: Any) -> None:
    """End the resolver pod with this answer."""
    (name,) = serve.pods()
    uri = f"file:///srv/models/default/digits/{version}"
    said = {"outcome": "Resolved", "uri": uri, "version": version, "digest": digest, **more}
    serve.children["Pod", name] |= {"status": ended(0, said, container="resolve")}


@pytest.mark.parametrize("model", [{"name": "digits"}, {"name": "digits", "version": 1}])
def test_a_manifest_that_was_changed_after_its_trainjob_had_gone_is_not_served(model: Object) -> None:
    serve = following({1: DIGEST}, model=model)
    serve.step()
    answer(serve, 1, OTHER_DIGEST)
    serve.step(5)
    resolved = condition(serve.status, "ModelResolved")
    assert (resolved["status"], resolved["reason"]) == ("False", "DigestMismatch")
    assert DIGEST in resolved["message"]
    assert OTHER_DIGEST in resolved["message"]
    assert serve.deployments() == []
    serve.step(700)
    assert condition(serve.status, "ModelResolved") == resolved, "while it is asked again"
    serve.step(701)
    answer(serve, 1, DIGEST)
    serve.step(702)
    assert condition(serve.status, "ModelResolved")["status"] == "True", "it was put back"


def test_a_changed_newest_version_leaves_what_serves_serving() -> None:
    serve = following({1: DIGEST, 2: DIGEST}, FIRST)
    serve.step()
    answer(serve, 2, OTHER_DIGEST)
    serve.step(5)
    resolved = condition(serve.status, "ModelResolved")
    assert (resolved["status"], resolved["reason"]) == ("True", "Provisional")
    assert "digits version 2 was published as" in resolved["message"]
    assert serve.deployments() == [f"digits-{SUFFIX}"]


def test_a_run_cannot_put_other_bytes_under_a_number_that_was_published() -> None:
    forged = trainjob(name="forged", status={"phase": "Complete", "artifact": artifact(1, OTHER_DIGEST)})
    serve = following({1: DIGEST}, forged, model={"trainJob": "forged"})
    serve.step()
    resolved = condition(serve.status, "ModelResolved")
    assert (resolved["status"], resolved["reason"]) == ("False", "DigestMismatch")
    serve = following({1: DIGEST}, forged, FIRST)
    serve.step()
    assert serve.deployments() == [f"digits-{SUFFIX}"]


def test_what_was_published_by_an_earlier_release_is_recorded_when_it_is_first_resolved() -> None:
    serve = following({}, model={"name": "digits", "version": 1})
    assert serve.step().record == []
    answer(serve, 1, DIGEST)
    assert serve.step(5).record == [entry()]
    pinned = following({}, model={"uri": "file:///srv/models/default/digits/1", "digest": DIGEST})
    assert pinned.step().record == [], "a digest that a user names is nobody's record"


def test_what_is_passed_over_in_the_store_is_told_by_name() -> None:
    serve = following({})
    serve.step()
    answer(serve, 1, DIGEST, passedOver=["default/digits/999999999: there is no manifest.json"])
    (event,) = [event for event in serve.step(5).events if event.reason == "PassedOver"]
    assert event.message == "passed over: default/digits/999999999: there is no manifest.json"
    told = condition(serve.status, "ModelResolved")["message"]
    assert told.endswith("; passed over: default/digits/999999999: there is no manifest.json")
