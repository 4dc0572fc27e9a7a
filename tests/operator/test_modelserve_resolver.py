"""How a ModelServe finds its version: from its TrainJob, or from the store through a resolver pod."""

from __future__ import annotations

import pytest

from tests.operator.serving import (
    FIRST,
    OTHER,
    RESOLVER,
    SUFFIX,
    UNSCHEDULABLE,
    Serve,
    answer_resolver,
    artifact,
)
from tests.operator.support import DIGEST, OTHER_DIGEST, at, condition, ended, failed
from trainserve.operator.objects import Object
from trainserve.operator.plan import Delete


def test_a_version_survives_the_deletion_of_its_trainjob() -> None:
    serve = Serve.ready(FIRST)
    serve.jobs.clear()
    kept = serve.step(10)
    assert (kept.create, kept.delete) == ([], [])
    assert serve.status["phase"] == "Ready"


def test_a_missing_trainjob_is_waited_for() -> None:
    serve = Serve(model={"trainJob": "one"})
    nothing = serve.step()
    assert (nothing.create, nothing.apply) == ([], [])
    assert condition(serve.status, "ModelResolved")["reason"] == "TrainJobNotFound"
    assert serve.status["phase"] == "Waiting"
    serve.jobs.append(FIRST)
    serve.step(10)
    assert condition(serve.status, "ModelResolved")["status"] == "True"


def test_the_store_is_asked_by_a_pod_and_asked_again_later_and_later() -> None:
    serve = Serve(model={"name": "digits", "version": 7})
    (pod,) = serve.step().create
    assert pod["metadata"]["name"] == "digits-resolve-1"
    refused = ended(1, failed("VersionNotFound", "published: 1, 2"), container="resolve")
    serve.children["Pod", "digits-resolve-1"]["status"] = refused
    waiting = serve.step(10)
    assert condition(serve.status, "ModelResolved")["reason"] == "VersionNotFound"
    assert condition(serve.status, "ModelResolved")["message"] == "published: 1, 2"
    assert waiting.requeue_after == 10.0, "as long again as it has waited already"
    assert serve.step(20).delete == [Delete("Pod", "digits-resolve-1")]
    assert serve.step(21).create
    assert condition(serve.status, "ModelResolved")["reason"] == "VersionNotFound", "the last answer stands meanwhile"


def test_the_stores_answer_is_kept_with_the_deployment_and_its_pod_goes() -> None:
    serve = Serve()
    serve.step()
    answer = {"outcome": "Resolved", **artifact(3, DIGEST)}
    serve.children["Pod", "digits-resolve-1"]["status"] = ended(0, answer, reason="Completed", container="resolve")
    serve.step(11)
    assert serve.step(12).delete == [Delete("Pod", "digits-resolve-1")]
    serve.step(13)
    assert condition(serve.status, "ModelResolved")["status"] == "True"
    assert serve.step(14).create == []


def test_a_version_whose_trainjob_is_gone_is_found_in_the_store() -> None:
    serve = Serve(FIRST)
    (asking,) = serve.step().create
    assert asking["metadata"]["name"] == RESOLVER
    assert condition(serve.status, "ModelResolved")["reason"] == "Provisional"
    assert serve.deployments() == [f"digits-{SUFFIX}"], "what is known serves meanwhile"
    answer_resolver(serve, 0, {"outcome": "Resolved", **artifact(2, OTHER_DIGEST)})
    serve.step(1)
    assert f"digits-{OTHER}" in serve.deployments()
    assert condition(serve.status, "ModelResolved")["reason"] == "Resolved"
    assert serve.step(2).delete == [Delete("Pod", RESOLVER)]
    assert serve.step(3).create == [], "asked once"


def test_the_stores_answer_is_kept_until_the_status_that_says_so_is_written() -> None:
    serve = Serve(FIRST)
    unwritten = serve.step().status
    answer_resolver(serve, 0, {"outcome": "Resolved", **artifact(2, OTHER_DIGEST)})
    for second in (1, 2):
        serve.step(second)
        serve.object["status"] = unwritten
    assert ("Pod", RESOLVER) in serve.children
    serve.step(3)
    assert serve.step(4).delete == [Delete("Pod", RESOLVER)]


def test_a_changed_spec_asks_the_store_anew() -> None:
    serve = Serve.ready(FIRST)
    answer_resolver(serve, 0, {"outcome": "Resolved", **artifact(1, DIGEST)})
    serve.step(6)
    serve.object["metadata"]["generation"] = 2
    (asking,) = serve.step(10).create
    assert asking["metadata"]["name"] == "digits-resolve-2"


@pytest.mark.parametrize("model", [{"name": "digits", "version": 1}, {"trainJob": "one"}])
def test_what_names_its_version_asks_nobody_else(model: Object) -> None:
    assert Serve(FIRST, model=model).step().create == []


def test_a_store_that_cannot_be_read_is_asked_again_while_what_is_known_serves() -> None:
    serve = Serve.ready(FIRST)
    answer_resolver(serve, 1, failed("StoreError", "no such bucket"))
    waiting = serve.step(10)
    resolved = condition(serve.status, "ModelResolved")
    assert (resolved["status"], resolved["reason"]) == ("True", "Provisional")
    assert "no such bucket" in resolved["message"]
    assert waiting.requeue_after is not None
    assert serve.step(60).delete == [Delete("Pod", RESOLVER)]


@pytest.mark.parametrize(
    ("status", "reason", "said"),
    [
        ({"conditions": [UNSCHEDULABLE]}, "Unschedulable", "Insufficient cpu"),
        (
            {"containerStatuses": [{"name": "resolve", "state": {"waiting": {"reason": "ErrImagePull"}}}]},
            "ImagePull",
            "ErrImagePull",
        ),
    ],
)
def test_what_keeps_the_store_from_being_asked_is_said(status: Object, reason: str, said: str) -> None:
    serve = Serve()
    serve.step()
    serve.children["Pod", RESOLVER]["status"] = {"phase": "Pending", **status}
    serve.step(1)
    resolved = condition(serve.status, "ModelResolved")
    assert (resolved["status"], resolved["reason"]) == ("False", reason)
    assert said in resolved["message"]
    serve.children["Pod", RESOLVER]["status"] = {"phase": "Running"}
    serve.step(2)
    assert condition(serve.status, "ModelResolved")["reason"] == "Resolving"


def test_an_evicted_resolver_is_made_anew() -> None:
    serve = Serve()
    serve.step()
    serve.children["Pod", RESOLVER]["metadata"]["creationTimestamp"] = at(0)
    serve.children["Pod", RESOLVER]["status"] = {"phase": "Failed", "reason": "Evicted"}
    assert condition(serve.step(1).status, "ModelResolved")["reason"] == "StoreError"
    assert serve.step(30).delete == [Delete("Pod", RESOLVER)]
