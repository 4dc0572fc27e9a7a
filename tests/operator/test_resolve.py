"""Resolution of the version that a ModelServe names."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.operator.support import DIGEST, OTHER_DIGEST, trainjob
from trainserve.api.modelserve import ModelRef
from trainserve.operator import pods
from trainserve.operator.modelserve.resolve import Unresolved, answer_of, resolve
from trainserve.operator.modelserve.version import Version
from trainserve.operator.objects import Object


def published(number: int, job: str = "run", model: str = "digits", digest: str = DIGEST) -> Object:
    artifact = {"uri": f"file:///srv/models/default/{model}/{number}", "version": number, "digest": digest}
    return trainjob(name=job, output={"model": model}, status={"phase": "Complete", "artifact": artifact})


def ended(kind: str, reason: str, message: str = "why") -> Object:
    conditions = [{"type": kind, "status": "True", "reason": reason, "message": message}]
    return trainjob(name="run", output=None, status={"phase": kind, "conditions": conditions})


def version(number: int, model: str = "digits", job: str | None = None) -> Version:
    return Version(model, number, f"file:///srv/models/default/{model}/{number}", DIGEST, job)


def found(outcome: Version | Unresolved) -> Version:
    assert isinstance(outcome, Version), outcome
    return outcome


def missing(outcome: Version | Unresolved) -> Unresolved:
    assert isinstance(outcome, Unresolved), outcome
    return outcome


def test_a_name_means_the_newest_version_that_any_trainjob_published() -> None:
    jobs = [published(2, "b"), published(10, "c"), published(9, "d"), published(99, "e", model="other")]
    assert found(resolve("web", ModelRef(name="digits"), jobs, [], None)).number == 10


def test_a_version_that_is_served_already_outlives_its_trainjob() -> None:
    assert found(resolve("web", ModelRef(name="digits"), [published(1)], [version(2)], None)).number == 2
    assert found(resolve("web", ModelRef(train_job="gone"), [], [version(2, job="gone")], None)).number == 2


def test_a_pinned_version_stays_when_newer_ones_appear() -> None:
    jobs = [published(2, "b"), published(3, "c")]
    assert found(resolve("web", ModelRef(name="digits", version=2), jobs, [], None)).number == 2


def test_what_no_trainjob_published_is_asked_of_the_store() -> None:
    asked = missing(resolve("web", ModelRef(name="digits", version=7), [published(2)], [], None))
    assert (asked.reason, asked.ask_store) == ("Resolving", True)
    assert "version 7" in asked.message


def test_the_stores_answer_counts() -> None:
    message = {"outcome": "Resolved", "uri": "file:///srv/models/default/digits/3", "version": 3, "digest": DIGEST}
    answer = answer_of(pods.message({"message": json.dumps(message)}), "digits")
    assert found(resolve("web", ModelRef(name="digits"), [], [], answer)) == version(3)


def test_a_trainjob_that_publishes_later_beats_the_stores_old_answer() -> None:
    assert found(resolve("web", ModelRef(name="digits"), [published(4)], [], version(3))).number == 4


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"outcome": "Failed", "reason": "VersionNotFound", "message": "published: 1, 2"}, "VersionNotFound"),
        ({"outcome": "Failed", "reason": "ModelNotFound"}, "ModelNotFound"),
        (None, "StoreError"),
        ({"outcome": "Resolved", "version": "three"}, "StoreError"),
        ({"outcome": "Resolved", "uri": "file:///x", "version": 3, "digest": "sha256:no"}, "StoreError"),
        ({"outcome": "Failed", "reason": "no reason at all"}, "StoreError"),
        ({"outcome": "Resolved", "formatVersion": 2}, "StoreError"),
    ],
)
def test_the_stores_refusal_is_the_reason(message: Any, reason: str) -> None:
    answer = answer_of(pods.message({"message": json.dumps(message)}), "digits")
    refused = missing(resolve("web", ModelRef(name="digits"), [], [], answer))
    assert (refused.reason, refused.ask_store) == (reason, True)
    assert refused.message


@pytest.mark.parametrize(
    ("jobs", "reason", "said"),
    [
        ([], "TrainJobNotFound", "run"),
        ([ended("Failed", "GateNotMet", "accuracy 0.1")], "TrainJobFailed", "GateNotMet: accuracy 0.1"),
        ([ended("Complete", "Succeeded")], "TrainJobPublishedNothing", "output.model"),
        ([trainjob(name="run", status={"phase": "Running"})], "TrainJobNotComplete", "Running"),
        ([trainjob(name="run")], "TrainJobNotComplete", "Pending"),
    ],
)
def test_a_trainjob_without_a_version_is_waited_for_with_its_reason(jobs: list[Object], reason: str, said: str) -> None:
    waiting = missing(resolve("web", ModelRef(train_job="run"), jobs, [], None))
    assert (waiting.reason, waiting.ask_store) == (reason, False)
    assert said in waiting.message


def test_an_address_says_everything_itself() -> None:
    address = ModelRef(uri="file:///srv/models/team/digits/12", digest=OTHER_DIGEST)
    meant = found(resolve("web", address, [], [], None))
    assert (meant.model, meant.number, meant.digest) == ("digits", 12, OTHER_DIGEST)
    assert meant.suffix == "cdcdcdcdcd"


def test_a_lone_graph_has_no_number_and_is_served_under_the_modelserves_name() -> None:
    address = ModelRef(uri="https://models.example.org/vision/resnet.onnx", digest=OTHER_DIGEST)
    meant = found(resolve("web", address, [], [], None))
    assert (meant.model, meant.number, meant.digest) == ("web", None, OTHER_DIGEST)
    assert str(meant) == "https://models.example.org/vision/resnet.onnx"
