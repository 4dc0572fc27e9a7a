"""Pods' messages: written within the kubelet's size limit for any text, and parsed whatever was written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainserve.api import messages
from trainserve.api.messages import (
    LIMIT,
    Failed,
    Fetched,
    Message,
    Published,
    Report,
    Resolved,
    Trained,
    Tuned,
    Unreadable,
)
from trainserve.api.reported import Artifact, MeasuredEnergy, Result

DIGEST = "sha256:" + "0" * 64
TEXT = st.text(max_size=3000)
"""Any characters, lone surrogates included; up to 12 bytes each in JSON."""


def as_it_is(told: Any) -> Any:
    return told


def published(uri: str, text: str, passed_over: list[str]) -> Published:
    artifact = Artifact(uri=uri, version=1, digest=DIGEST, bytes=1, opset=18, precision="fp32")
    result = Result(accuracy=0.5, energy=MeasuredEnergy(reason=text))
    return Published(result=result, message=text, artifact=artifact, passed_over=passed_over)


WORDY = st.one_of(
    st.builds(lambda text: Failed(reason="UserError", message=text, result=Result(accuracy=0.5)), TEXT),
    st.builds(lambda text: Trained(message=text), TEXT),
    st.builds(lambda text: Tuned(held=False, message=text or "x"), TEXT),
    st.builds(
        lambda text, passed: Resolved(uri="s3://a/b", version=1, digest=DIGEST, passed_over=passed),
        TEXT,
        st.lists(TEXT, max_size=40),
    ),
    st.builds(published, st.just("s3://a/b"), TEXT, st.lists(TEXT, max_size=40)),
)


@given(message=WORDY)
def test_a_message_keeps_to_4096_bytes_whatever_its_text(message: Message) -> None:
    line = messages.encoded(message, as_it_is)
    assert len(line.encode()) < LIMIT
    read = messages.of(json.loads(line))
    assert read is not None and type(read) is type(message)
    whole = ("reason", "uri", "digest", "version", "artifact")
    assert {name: getattr(read, name, None) for name in whole} == {name: getattr(message, name, None) for name in whole}


def test_a_text_that_fits_is_as_it_was_and_a_longer_one_has_most_of_the_room() -> None:
    assert json.loads(messages.encoded(Failed(message="é" * 500), as_it_is))["message"] == "é" * 500
    long = messages.encoded(Failed(reason="UserError", message="first " + "é" * 9000 + " last"), as_it_is)
    assert LIMIT - 20 < len(long) < LIMIT
    shown = json.loads(long)["message"]
    assert shown.startswith("first é") and shown.endswith("é last") and messages.GAP in shown


def test_of_many_things_that_were_passed_over_the_first_are_listed_and_the_others_counted() -> None:
    passed = [f"default/digits/{number}: {'x' * 300}" for number in range(30)]
    told = json.loads(messages.encoded(Resolved(uri="u", version=1, digest=DIGEST, passed_over=passed), as_it_is))
    assert told["passedOver"] == [*passed[:7], "and 23 more"]


def test_an_address_that_leaves_no_room_is_a_failure_and_no_half_address() -> None:
    told = json.loads(messages.encoded(published("s3://" + "é" * 700, "", []), as_it_is))
    assert (told["outcome"], told["reason"]) == ("Failed", "StoreError")
    assert "too long for a termination message of 4096 bytes" in told["message"]


def test_a_secret_is_masked_before_anything_is_cut() -> None:
    secret = "s3cr3t-" * 3000
    line = messages.encoded(Failed(message=f"a {secret} b"), lambda told: {**told, "message": "a <NAME> b"})
    assert json.loads(line)["message"] == "a <NAME> b"


def test_what_an_earlier_release_wrote_names_no_format_and_is_read() -> None:
    assert messages.of({"outcome": "Fetched", "digest": DIGEST}) == Fetched(digest=DIGEST)
    assert messages.answered(Report, {"verified": True, "samples": 3}) == Report(verified=True, samples=3)


def test_what_a_later_release_says_beside_is_passed_over() -> None:
    said = {"outcome": "Fetched", "digest": DIGEST, "seconds": 3, "formatVersion": 1}
    assert messages.of(said) == Fetched(digest=DIGEST)


@pytest.mark.parametrize("outcome", ["Published", "Failed", "Melted"])
def test_a_message_of_a_later_format_is_refused_with_both_versions(outcome: str) -> None:
    with pytest.raises(Unreadable, match=r"is of formatVersion 2, and this release reads up to 1"):
        messages.of({"formatVersion": 2, "outcome": outcome})
    assert messages.answered(Report, {"formatVersion": 2, "verified": True}) is None


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"outcome": "Published", "artifact": {"version": "one"}}, "artifact.uri"),
        ({"outcome": "Resolved", "uri": "u", "version": 0, "digest": DIGEST}, "version"),
        ({"outcome": "Tuned", "held": "yes", "message": "m"}, "held"),
        ({"outcome": "Failed", "formatVersion": "new"}, "formatVersion"),
    ],
)
def test_what_cannot_be_read_is_named(said: dict[str, Any], field: str) -> None:
    with pytest.raises(Unreadable, match=f"termination message cannot be read: {field}$"):
        messages.of(said)


@pytest.mark.parametrize("said", [{}, {"outcome": 3}, {"outcome": ["Failed"]}, {"outcome": "Melted"}])
def test_what_is_no_message_of_ours_is_none(said: dict[str, Any]) -> None:
    assert messages.of(said) is None


def test_a_part_that_cannot_be_read_takes_nothing_else_with_it() -> None:
    said = {"outcome": "Failed", "reason": 3, "message": "m", "progress": {"epoch": -1}, "result": {"loss": 0.5}}
    assert messages.of(said) == Failed(message="m", result=Result(loss=0.5))
    report = {"verified": False, "p99Ms": "fast", "batching": {"axis": "second"}, "message": 3}
    assert messages.answered(Report, report) == Report(verified=False)
