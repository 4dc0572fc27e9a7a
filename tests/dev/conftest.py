"""A development cluster for one test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from trainserve.dev.cluster import Cluster


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster of the test's own, not yet started."""
    one = Cluster(tmp_path / "cluster")
    try:
        yield one
    finally:
        one.down()
