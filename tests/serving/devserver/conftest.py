"""A raw connection to the session's server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.serving.devserver.raw_requests import GOOD, Raw, of
from trainserve.serving.devserver.server import DevelopmentServer


@pytest.fixture
def raw(server: DevelopmentServer) -> Iterator[Raw]:
    """A raw connection to the session's server; after the test, a valid request must still be answered with 200."""
    connection = Raw(server.http_port)
    yield connection
    connection.socket.close()
    after = Raw(server.http_port)
    after.send(of(GOOD))
    assert after.answer()[0] == 200
    after.socket.close()
