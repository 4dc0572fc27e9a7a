from __future__ import annotations

from typing import Any

import pytest

from trainserve.client import BadInput, Protocol
from trainserve.client.addresses import Target, parse


@pytest.mark.parametrize(
    ("given", "protocol", "meant", "targets"),
    [
        ("a:8000", None, "http", [("a", 8000)]),
        ("a:8001", "grpc", "grpc", [("a", 8001)]),
        ("http://a:8000/", None, "http", [("a", 8000)]),
        (["grpc://a:1", "b:2"], None, "grpc", [("a", 1), ("b", 2)]),
        (["a:1", "grpc://b:2"], None, "grpc", [("a", 1), ("b", 2)]),
        ("[::1]:8000", None, "http", [("::1", 8000)]),
        ("https://a", None, "http", [("a", 443, True)]),
        ("https://a:8443/", None, "http", [("a", 8443, True)]),
        (["grpcs://a", "grpc://b:2"], None, "grpc", [("a", 443, True), ("b", 2)]),
    ],
)
def test_an_address_says_host_port_and_protocol(
    given: str | list[str], protocol: Protocol | None, meant: Protocol, targets: list[tuple[Any, ...]]
) -> None:
    assert parse(given, protocol) == ([Target(*each) for each in targets], meant)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("a", "'a' is not host:port"),
        ("ftp://a:1", "'ftp://a:1' is not host:port"),
        ("http://a:1/v2", "is not host:port"),
        ("a:port", "is not host:port"),
        ("http://a", "'http://a' is not host:port"),
        ("https://", "'https://' is not host:port"),
        ("https://me:secret@a", "is not host:port"),
        ("https://a/#top", "is not host:port"),
        (["https://a", "grpcs://b"], "'grpcs://b' is a grpc address; must be http"),
        ("[::1:80", "is not host:port"),
        ("", "'' is not host:port"),
        ([], "none given; must be at least one host:port"),
        (["http://a:1", "grpc://b:2"], "'grpc://b:2' is a grpc address; must be http"),
    ],
)
def test_what_is_no_address_is_refused_with_what_is_allowed(given: str | list[str], words: str) -> None:
    with pytest.raises(BadInput) as refused:
        parse(given, None)
    assert words in str(refused.value)


async def test_every_address_behind_a_name_is_a_replica_that_keeps_the_name() -> None:
    found = await Target("localhost", 8000).resolve()
    assert ("127.0.0.1", "localhost:8000") in {(each.host, each.authority) for each in found}


@pytest.mark.parametrize(("port", "authority"), [(443, "localhost"), (8443, "localhost:8443")])
async def test_over_tls_a_replica_keeps_the_name_that_its_certificate_is_for(port: int, authority: str) -> None:
    found = await Target("localhost", port, secure=True).resolve()
    assert all(each.secure and each.name == "localhost" and each.authority == authority for each in found)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_number_is_its_own_address(host: str) -> None:
    (only,) = await Target(host, 1).resolve()
    assert str(only) == only.authority == ("127.0.0.1:1" if host == "127.0.0.1" else "[::1]:1")
