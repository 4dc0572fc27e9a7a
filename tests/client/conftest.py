"""Real servers, from tests/serving, and misbehaving proxies in front of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.client.fronts import Begin, Front, GrpcFront, HttpFront, Tls
from tests.serving.conftest import command, fetched, published, root, server, start
from trainserve.client import Protocol
from trainserve.serving.devserver.server import DevelopmentServer

__all__ = ["command", "fetched", "published", "root", "server", "start"]


@pytest.fixture(params=["http", "grpc"])
def protocol(request: pytest.FixtureRequest) -> Protocol:
    return request.param


@pytest.fixture
def front(server: DevelopmentServer) -> Iterator[Begin]:
    """Start proxies in front of the session's server that follow their script, request by request."""
    with contextlib.ExitStack() as stack:

        def begin(
            protocol: Protocol, *script: object, host: str = "127.0.0.1", port: int = 0, tls: Tls | None = None
        ) -> Front:
            if protocol == "http":
                return stack.enter_context(HttpFront(server.url, list(script), host, port, tls))
            return stack.enter_context(GrpcFront(server.grpc_url, list(script), tls))

        yield begin
