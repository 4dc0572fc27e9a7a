"""Claims of a run or a manifest about the store, and which of them the operator accepts."""

from __future__ import annotations

from typing import Any

import pytest

from tests.operator.serving import FIRST, SUFFIX, Serve, artifact
from tests.operator.support import (
    DIGEST,
    OTHER_DIGEST,
    PUBLISHED,
    Run,
    condition,
    created,
    ended,
    failed,
    trainjob,
)
from trainserve.operator.blocked import Refusal
from trainserve.operator.modelserve.checks import accepted
from trainserve.operator.objects import Object
from trainserve.operator.settings import Settings

SCRIPT: Object = {"script": "configmap://code/train.py"}
ROOT = "file:///srv/models"


def claim(uri: str, version: int, digest: str = DIGEST) -> Object:
    return PUBLISHED | {"artifact": PUBLISHED["artifact"] | {"uri": uri, "version": version, "digest": digest}}


def ended_with(message: Object, **spec: Any) -> Run:
    """Return a run whose only pod has ended with this message."""
    run = Run(trainjob(**spec))
    run.step()
    run.set(run.pods()[0], ended(0, message))
    run.step(20)
    return run


@pytest.mark.parametrize("model", [{"name": "convnet"}, SCRIPT])
@pytest.mark.parametrize(
    ("uri", "version"),
    [
        (f"{ROOT}/neighbour/digits/1", 1),
        (f"{ROOT}/default/letters/1", 1),
        (f"{ROOT}/default/digits/2", 1),
        (f"{ROOT}/default/digits/1/", 1),
        (f"{ROOT}/default/../neighbour/digits/1", 1),
        ("s3://elsewhere/default/digits/1", 1),
        (f"{ROOT}/default/digits/2147483647", 2147483647),
        (f"{ROOT}/default/digits/1000000000", 1000000000),
    ],
)
def test_a_version_that_the_run_cannot_have_published_is_no_success(model: Object, uri: str, version: int) -> None:
    run = ended_with(claim(uri, version), model=model)
    assert run.reasons() == ["InvalidResult"], "and it is not tried again"
    assert run.status["phase"] == "Failed"
    assert uri in condition(run.status, "Failed")["message"]
    assert "artifact" not in run.status


def looked(run: Run, status: Object) -> None:
    run.children["digits-1-check"] |= {"status": status}


def resolved(version: int = 1, digest: str = DIGEST) -> Object:
    uri = f"{ROOT}/default/digits/{version}"
    said = {"outcome": "Resolved", "uri": uri, "version": version, "digest": digest}
    return ended(0, said, container="resolve")


def test_a_users_own_code_is_believed_once_the_store_has_been_asked() -> None:
    run = ended_with(PUBLISHED, model=SCRIPT)
    (asked,) = [child for child in run.children.values() if child["metadata"]["name"] == "digits-1-check"]
    command = " ".join(asked["spec"]["containers"][0]["command"])
    assert command.endswith("--namespace default --model digits --version 1 --wait 30")
    checking = condition(run.status, "Published")
    assert (checking["status"], checking["reason"]) == ("Unknown", "Checking")
    assert "artifact" not in run.status, "nobody takes it before"
    assert run.step(21).delete == []
    looked(run, resolved())
    run.step(22)
    assert run.status["phase"] == "Complete"
    assert run.status["artifact"]["digest"] == DIGEST
    assert run.pods() == ["digits-1-0"], "the pod that looked has gone"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (resolved(digest=OTHER_DIGEST), OTHER_DIGEST),
        (ended(1, failed("VersionNotFound", "published: 1, 2"), container="resolve"), "published: 1, 2"),
        (ended(1, failed("ModelNotFound", "models there: none"), container="resolve"), "models there: none"),
        (ended(1, failed("VersionMismatch", "the manifest of a/b/3"), container="resolve"), "the manifest of a/b/3"),
    ],
)
def test_a_version_that_the_store_does_not_hold_is_no_success(answer: Object, said: str) -> None:
    run = ended_with(PUBLISHED, model=SCRIPT)
    looked(run, answer)
    run.step(22)
    assert run.reasons() == ["InvalidResult"]
    assert said in condition(run.status, "Failed")["message"]
    assert "artifact" not in run.status
    assert run.status["result"]["accuracy"] == 0.97


@pytest.mark.parametrize(
    "answer",
    [ended(1, failed("StoreError", "the bucket does not answer"), container="resolve"), {"phase": "Failed"}],
)
def test_a_store_that_cannot_be_asked_is_asked_by_another_pod(answer: Object) -> None:
    run = ended_with(PUBLISHED, model=SCRIPT)
    looked(run, answer)
    (gone,) = run.step(22).delete
    assert gone.name == "digits-1-check"
    assert condition(run.status, "Published")["reason"] == "Checking"
    (again,) = created(run.step(23), "Pod")
    assert again["metadata"]["name"] == "digits-1-check"
    looked(run, resolved())
    run.step(24)
    assert run.status["phase"] == "Complete"


def test_a_zoo_model_needs_nobody_who_looks() -> None:
    assert ended_with(PUBLISHED).status["phase"] == "Complete"


def test_what_a_run_has_passed_over_is_told() -> None:
    run = ended_with(PUBLISHED | {"passedOver": ["default/digits/999999999: there is no manifest.json", 7]})
    told = condition(run.status, "Published")["message"]
    assert told.endswith("; passed over: default/digits/999999999: there is no manifest.json")


def claimed(number: int, uri: str | None = None) -> Object:
    """Return a TrainJob whose status a user has edited to claim this version."""
    said = artifact(number, OTHER_DIGEST)
    return trainjob(name="false", status={"phase": "Complete", "artifact": said | ({"uri": uri} if uri else {})})


@pytest.mark.parametrize(
    ("number", "uri"),
    [(2147483647, None), (5, f"{ROOT}/neighbour/digits/5"), (5, "s3://x/default/digits/5"), (5, f"{ROOT}/default/a/5")],
)
def test_a_claim_of_what_cannot_be_pins_no_follower(number: int, uri: str | None) -> None:
    serve = Serve(claimed(number, uri), FIRST)
    serve.step()
    assert serve.deployments() == [f"digits-{SUFFIX}"]
    told = condition(serve.status, "ModelResolved")["message"]
    assert f"passed over: digits version {number} is reported at" in told


def test_a_trainjob_whose_claim_cannot_be_is_not_served() -> None:
    serve = Serve(claimed(5, f"{ROOT}/neighbour/digits/5"), model={"trainJob": "false"})
    serve.step()
    found = condition(serve.status, "ModelResolved")
    assert (found["status"], found["reason"]) == ("False", "NotInStore")
    assert serve.deployments() == []


@pytest.mark.parametrize(
    ("root", "uri"),
    [
        (ROOT, f"{ROOT}/neighbour/digits/1"),
        ("s3://models/store", "s3://models/store/neighbour/digits/1"),
        ("s3://models/store", "s3://models/store/neighbour/digits/1/model.onnx"),
        ("s3://models/store", "s3://models/store/default-2/digits/1"),
        ("s3://models/store", "s3://models/store/.checkpoints/default/digits/1"),
        ("pvc://models", "pvc://models/neighbour/digits/1"),
        ("pvc://models", "pvc://models/neighbour/digits/1/model.onnx"),
    ],
)
def test_an_address_in_the_store_has_to_lie_in_the_objects_namespace(root: str, uri: str) -> None:
    known = Settings.from_environment({"TRAINSERVE_STORE": root})

    def refusal(address: str) -> Refusal | None:
        judged = accepted(Serve(model={"uri": address, "digest": DIGEST}).observed(), known)
        return judged if isinstance(judged, Refusal) else None

    refused = refusal(uri)
    assert refused is not None
    assert f"not in this namespace's folder of it, {root}/default" in refused.message
    assert refusal(f"{root}/default/digits/1") is None
    assert refusal("s3://elsewhere/neighbour/digits/1") is None, "another store is its owner's to guard"
