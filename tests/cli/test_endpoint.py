from __future__ import annotations

from typing import Any

import pytest

from trainserve.cli.endpoint import candidates, not_ready
from trainserve.client import Protocol

SERVICE = {"spec": {"clusterIP": "127.96.0.7"}}


@pytest.mark.parametrize(
    ("status", "service", "protocol", "found"),
    [
        ({"url": "http://digits.team.svc:8000"}, SERVICE, "http", ["digits.team.svc:8000", "127.96.0.7:8000"]),
        ({"url": "http://a:8000", "grpcUrl": "grpc://b:8001"}, SERVICE, "grpc", ["b:8001", "127.96.0.7:8001"]),
        ({"url": "http://digits.example.org"}, SERVICE, "http", ["digits.example.org:8000", "127.96.0.7:8000"]),
        ({"grpcUrl": "digits.team.svc:8001"}, {}, "grpc", ["digits.team.svc:8001"]),
        ({}, {"spec": {"clusterIP": "None"}}, "http", []),
    ],
)
def test_the_serves_own_url_is_tried_before_its_service(
    status: dict[str, Any], service: dict[str, Any], protocol: Protocol, found: list[str]
) -> None:
    assert candidates({"status": status}, service, protocol) == found


def test_a_serve_that_is_not_ready_says_why_in_its_own_words() -> None:
    waiting = {"type": "Ready", "status": "False", "reason": "VersionNotFound", "message": "version 7 does not exist"}
    assert not_ready({"status": {"conditions": [waiting]}}) == "VersionNotFound: version 7 does not exist"
    assert not_ready({"status": {"conditions": [waiting | {"status": "True"}]}}) is None
    assert not_ready({}) == "no status yet; is the operator running?"
