"""Fetching and decoding by several processes at once, and by processes that are killed."""

import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from .conftest import Pod
from .data_files import kept, load, npz, sha256
from .data_servers import PATIENCE, HttpsServer

pytestmark = pytest.mark.usefixtures("cache")
PROGRAM = """
import sys
from trainserve.models import data
from trainserve.models.config import parse
from trainserve.models.errors import DataError
try:
    print(data.load(parse({"model": {"name": "convnet"}, "dataset": {"uri": sys.argv[1]}}).dataset, 0))
except DataError as error:
    sys.exit(str(error))
"""


@pytest.fixture
def start() -> Iterator[Callable[[str], "subprocess.Popen[str]"]]:
    processes = []

    def start(uri: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", PROGRAM, uri]
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


Start = Callable[[str], "subprocess.Popen[str]"]


def test_a_process_killed_while_it_fetches_leaves_nothing_that_counts(
    server: HttpsServer, cache: Path, start: Start
) -> None:
    content = server.files["pets.npz"] = npz(20_000)
    server.held.clear()
    process = start(server.uri("pets.npz"))
    assert server.halfway.wait(PATIENCE)
    while not [*cache.glob("partial/*/*")]:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert [name.split("/")[0] for name in kept(cache)] == ["partial"]
    server.held.set()
    assert len(load(uri=server.uri("pets.npz")).train_images) == 16_001
    assert kept(cache) == [f"files-{sha256(content)[7:]}"]


def test_what_a_dead_process_left_of_another_data_set_is_swept_away(
    server: HttpsServer, cache: Path, start: Start
) -> None:
    server.files["pets.npz"] = server.files["other.npz"] = npz()
    server.held.clear()
    process = start(server.uri("other.npz"))
    assert server.halfway.wait(PATIENCE)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    server.held.set()
    load(uri=server.uri("pets.npz"))
    assert [name for name in kept(cache) if name.startswith("partial")] == []


def test_two_processes_at_once_fetch_one_copy(server: HttpsServer, cache: Path, start: Start) -> None:
    server.files["pets.npz"] = npz()
    server.held.clear()
    processes = [start(server.uri("pets.npz")) for _ in range(2)]
    assert server.halfway.wait(PATIENCE)
    ready, _, _ = select.select([process.stdout for process in processes if process.stdout], [], [], PATIENCE)
    assert "waiting for another process that is filling" in ready[0].readline()
    server.held.set()
    for process in processes:
        process.communicate(timeout=PATIENCE)
    assert [process.returncode for process in processes] == [0, 0]
    assert server.gets == ["/pets.npz"]
    assert len(kept(cache)) == 1


DECODING = """
import contextlib
import sys
from trainserve.models import data
from trainserve.models.config import parse
from trainserve.models.data import arrays
from trainserve.models.data.watch import Watch
arrays.LARGE = 100  # so that it is decoded into mapped files
config = parse({"model": {"name": "convnet"}, "dataset": {"name": "synthetic", "options": {"samples": 5000}}})
advance = Watch._lines
def first_block(self, text, total, unit):
    with advance(self, text, total, unit) as moved:
        yield lambda amount: (moved(amount), print("halfway", flush=True), sys.stdin.readline())
Watch._lines = contextlib.contextmanager(first_block)
data.load(config.dataset, 0)
"""


def test_a_process_killed_while_it_decodes_leaves_nothing_that_counts(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", DECODING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "halfway\n"
        assert [*cache.glob("partial/*/train.npy")]
        process.kill()
    assert [name.split("/")[0] for name in kept(cache)] == ["partial"]
    monkeypatch.setattr("trainserve.models.data.arrays.LARGE", 100)
    again = load(name="synthetic", options={"samples": 5000})
    assert len(kept(cache)) == 1
    monkeypatch.setattr("trainserve.models.data.arrays.LARGE", 1 << 40)
    assert np.array_equal(again.train_images, load(name="synthetic", options={"samples": 5000}).train_images)


def test_sigterm_while_fetching_ends_the_run_with_143_and_nothing_kept(
    server: HttpsServer, cache: Path, start_pod: Callable[..., Pod]
) -> None:
    server.files["pets.npz"] = npz()
    server.held.clear()
    pod = start_pod({"model": {"name": "convnet"}, "dataset": {"uri": server.uri("pets.npz")}})
    assert server.halfway.wait(PATIENCE)
    pod.process.send_signal(signal.SIGTERM)
    code, _, err = pod.finish()
    assert (code, err, pod.message["reason"]) == (143, "", "Interrupted")
    assert kept(cache) == []
