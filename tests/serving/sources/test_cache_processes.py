"""The node's cache, shared by several processes, some of which are killed."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.serving.sources.caches import fill, leftovers, models
from tests.serving.sources.places import RangeServer
from trainserve.serving.sources.cache import CacheFull, NodeCache
from trainserve.serving.sources.source import open_servable

FETCH = """
import sys
from pathlib import Path
from trainserve.serving.sources.cache import NodeCache
from trainserve.serving.sources.source import open_servable
cache = NodeCache(Path(sys.argv[2]), say=lambda line: print(line, flush=True))
model = open_servable(sys.argv[1], cache=cache)
print("opened", model.digest, flush=True)
sys.stdin.read()
"""
"""A program that opens a model, prints its digest, and holds it until stdin ends."""


@pytest.fixture
def fetcher() -> Iterator[Callable[[str, Path], subprocess.Popen[str]]]:
    """Start processes that open a model and hold it."""
    started: list[subprocess.Popen[str]] = []

    def start(address: str, folder: Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", FETCH, address, str(folder)]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_what_another_process_uses_is_never_evicted(
    server: RangeServer, tmp_path: Path, fetcher: Callable[[str, Path], subprocess.Popen[str]]
) -> None:
    folder = tmp_path / "cache"
    process = fetcher(server.uri("shapes.onnx"), folder)
    assert process.stdout is not None
    digest = process.stdout.readline().split()[1]
    small = NodeCache(folder, NodeCache(folder).usage().bytes + 10)
    with pytest.raises(CacheFull):
        fill(small, "other", 1000)
    process.kill()
    process.wait()
    fill(small, "other", 1000).close()
    assert small.lease(digest) is None


def test_a_fetch_that_was_killed_is_gone_on_with_by_the_next(
    server: RangeServer, cache: NodeCache, fetcher: Callable[[str, Path], subprocess.Popen[str]]
) -> None:
    server.held.clear()
    process = fetcher(server.uri("shapes.onnx"), cache.folder)
    part = _wait_for_part(cache.folder)
    process.kill()
    process.wait()
    assert models(cache) == set()
    there = part.stat().st_size
    server.held.set()
    model = open_servable(server.uri("shapes.onnx"), cache=cache)
    assert (model.folder / "shapes.onnx").read_bytes() == server.files["shapes.onnx"]
    assert server.ranges == ["", f"bytes={there}-"]
    assert leftovers(cache.folder) == []


def test_two_that_fetch_at_once_fetch_it_once(
    server: RangeServer, cache: NodeCache, fetcher: Callable[[str, Path], subprocess.Popen[str]]
) -> None:
    server.held.clear()
    both = [fetcher(server.uri("models/default/digits/1"), cache.folder) for _ in range(2)]
    lines: list[str] = []
    waiting = next(process for process in _waiting(both, lines))
    server.held.set()
    for process in both:
        assert process.stdout is not None
        while not (line := process.stdout.readline()).startswith("opened"):
            assert line, "a process ended before it opened the model"
        lines.append(line)
    assert lines[0] == lines[1]
    assert waiting in both
    assert server.gets.count("models/default/digits/1/model.onnx") == 1
    assert cache.usage().models == 1
    assert leftovers(cache.folder) == []


def test_of_two_the_second_goes_on_when_the_first_is_killed(
    server: RangeServer, cache: NodeCache, fetcher: Callable[[str, Path], subprocess.Popen[str]]
) -> None:
    server.held.clear()
    both = [fetcher(server.uri("models/default/digits/1"), cache.folder) for _ in range(2)]
    waiting = next(process for process in _waiting(both, []))
    _wait_for_part(cache.folder)
    first = both[1 - both.index(waiting)]
    first.kill()
    first.wait()
    server.held.set()
    assert waiting.stdout is not None
    assert waiting.stdout.readline().startswith("opened")
    assert [asked for asked in server.ranges if asked] != []
    assert (cache.usage().models, leftovers(cache.folder)) == (1, [])


def _waiting(both: list[subprocess.Popen[str]], lines: list[str]) -> Iterator[subprocess.Popen[str]]:
    """Yield the processes that report waiting for another."""
    import selectors

    with selectors.DefaultSelector() as selector:
        for process in both:
            assert process.stdout is not None
            selector.register(process.stdout, selectors.EVENT_READ, process)
        found = selector.select(60)
        assert found, "nobody waited"
        for key, _ in found:
            assert key.fileobj.readline().startswith("waiting for another process")
            yield key.data


def _wait_for_part(folder: Path) -> Path:
    """Wait for a partly downloaded graph in the cache; return its path."""
    deadline = time.monotonic() + 60
    while True:
        for path in folder.glob(".rooms/*/content/*.onnx"):
            if path.stat().st_size:
                return path
        assert time.monotonic() < deadline
        time.sleep(0.01)
