"""The constants that operator and pods share: each has a sentence for the tables, and none is defined twice."""

from __future__ import annotations

import json
from enum import Enum

import pytest

from trainserve.api.pod import Endpoint, ExitCode, PodPath, Port, SharedFile, Variable
from trainserve.api.reasons import Reason

GROUPS = [Port, Endpoint, PodPath, SharedFile, Variable, ExitCode]


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: str(group.__name__))
def test_each_fact_has_a_value_of_its_own_and_a_sentence(group: type[Enum]) -> None:
    assert list(group) == list(group.__members__.values()), "a value that stands twice is an alias of the first"
    for fact in group:
        sentence = fact.sentence  # type: ignore[attr-defined]
        assert sentence[0].isupper() and sentence.endswith(".") and "|" not in sentence, sentence


def test_a_fact_is_written_into_an_object_as_its_plain_value() -> None:
    written = {"port": Port.HTTP, "path": PodPath.STORE, "name": Variable.POD_IP, "url": f"{Port.GRPC}{Endpoint.READY}"}
    plain = {"port": 8000, "path": "/var/lib/trainserve/store", "name": "POD_IP", "url": "8001/v2/health/ready"}
    assert json.loads(json.dumps(written)) == written == plain
    assert Variable.POD_IP.reference == "$(POD_IP)"


def test_each_exit_code_has_a_reason() -> None:
    assert {reason.exit_code for reason in Reason} - {None} == set(ExitCode)
