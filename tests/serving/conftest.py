"""Fixtures of the serving tests: a real server with a few models; a test that damages a server starts its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.serving.versions import fetch, publish_convnet
from trainserve import store
from trainserve.api.triton import DynamicBatching
from trainserve.serving.devserver import runtime
from trainserve.serving.devserver.server import DevelopmentServer
from trainserve.serving.repository.settings import Settings
from trainserve.store import Published


@pytest.fixture(scope="session")
def command() -> Path:
    """Path of the development `tritonserver`."""
    return runtime.install()


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with default/digits version 1, and version 2, whose recorded outputs differ from its graph's."""
    folder = tmp_path_factory.mktemp("store")
    publish_convnet(folder, tmp_path_factory.mktemp("work"))
    publish_convnet(folder, tmp_path_factory.mktemp("work"), error=0.01)
    return folder


@pytest.fixture(scope="session")
def published(root: Path) -> Published:
    """Version 1 of default/digits, as published."""
    found = store.resolve(root, "default", "digits", 1)
    manifest = store.manifest(root, "default", "digits", 1)
    return Published(found.uri, 1, found.digest, 0, True, manifest)


@pytest.fixture(scope="session")
def fetched(root: Path, published: Published, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the init container leaves, with version/ and repository/."""
    into = tmp_path_factory.mktemp("fetched")
    settings = Settings(dynamic_batching=DynamicBatching(max_batch=32))
    outcome = fetch(root, "digits", 1, published.digest, into, settings)
    assert outcome.outcome == "Fetched", outcome
    return into


@pytest.fixture(scope="session")
def server(command: Path, fetched: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevelopmentServer]:
    """The session's server, serving `digits` version 1."""
    log = tmp_path_factory.mktemp("server") / "log"
    with DevelopmentServer(command, fetched / "repository", log, "--disable-auto-complete-config") as running:
        yield running


@pytest.fixture
def start(command: Path, fetched: Path, tmp_path: Path) -> Iterator[Callable[..., DevelopmentServer]]:
    """Start servers for one test; they are killed at its end: a clean stop takes 3 s and has a test of its own."""
    started: list[DevelopmentServer] = []

    def begin(models: Path | None = None, *arguments: str) -> DevelopmentServer:
        if models is None:
            arguments = ("--disable-auto-complete-config", *arguments)
        log = tmp_path / f"log{len(started)}"
        started.append(DevelopmentServer(command, models or fetched / "repository", log, *arguments))
        started[-1].start()
        return started[-1]

    yield begin
    for each in started:
        each.kill()
