"""`python -m trainserve.serving probe`, as the pods run it beside a server."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.serving import python_models
from tests.serving.graphs import convnet
from tests.serving.pod.commands import run
from tests.serving.versions import fetch
from trainserve import store
from trainserve.serving.devserver.server import DevelopmentServer
from trainserve.serving.repository.settings import Settings
from trainserve.store import Published

Start = Callable[..., DevelopmentServer]
Begin = Callable[..., "Running"]


@dataclass
class Running:
    """A running probe process."""

    process: subprocess.Popen[bytes]
    address: str
    log: Path
    """File that receives its stderr."""

    def get(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection(self.address, timeout=10)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        except OSError:
            return 0, ""
        finally:
            connection.close()

    def wait_for(self, path: str, status: int, seconds: float = 20.0) -> float:
        """Wait until `path` answers `status`; return the seconds waited."""
        begun = time.monotonic()
        while self.get(path)[0] != status:
            assert time.monotonic() - begun < seconds, self.get(path)
            time.sleep(0.02)
        return time.monotonic() - begun

    def report(self) -> dict[str, Any]:
        return json.loads(self.get("/report")[1])


@pytest.fixture
def probe(tmp_path: Path) -> Iterator[Begin]:
    """Start probes of a server with a fetched version's folder; they are stopped at the end of the test."""
    started: list[Running] = []

    def begin(version: Path, server: DevelopmentServer, *more: str | Path) -> Running:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        options = ["--version", str(version), "--model-name", "digits", "--url", server.url, "--listen", address]
        command = [sys.executable, "-m", "trainserve.serving", "probe", *options, "--samples", "48", *map(str, more)]
        with (tmp_path / f"probe{len(started)}.log").open("wb") as log:
            process = subprocess.Popen(command, stderr=log)
        started.append(Running(process, address, Path(log.name)))
        started[-1].wait_for("/report", 200)
        return started[-1]

    yield begin
    for each in started:
        each.process.terminate()
        each.process.wait(10)


def test_a_right_server_is_verified_with_its_samples(server: DevelopmentServer, fetched: Path, probe: Begin) -> None:
    running = probe(fetched / "version", server)
    running.wait_for("/readyz", 200)
    report = running.report()
    assert (report["verified"], report["reason"], report["samples"]) == (True, "SamplesMatch", 48)
    assert report["maxAbs"] < 1e-5
    assert 0 < report["p50Ms"] <= report["p99Ms"]
    assert running.get("/livez") == (200, "ok\n")
    assert "trainserve_probe_verified 1.0" in running.get("/metrics")[1]
    assert running.get("/else")[0] == 404


def test_who_leaves_before_the_probe_answers_leaves_nothing_in_its_log(
    server: DevelopmentServer, fetched: Path, probe: Begin
) -> None:
    running = probe(fetched / "version", server)
    host, port = running.address.split(":")
    for _ in range(5):
        with socket.create_connection((host, int(port))) as asker:
            asker.sendall(b"GET /report HTTP/1.1\r\n")
            asker.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close with a reset
    running.wait_for("/readyz", 200)
    assert running.log.read_text() == ""


def test_a_server_that_answers_otherwise_never_becomes_ready(
    server: DevelopmentServer, root: Path, tmp_path: Path, probe: Begin
) -> None:
    digest = store.resolve(root, "default", "digits", 2).digest
    outcome = fetch(root, "digits", 2, digest, tmp_path, Settings())
    assert outcome.outcome == "Fetched"
    running = probe(tmp_path / "version", server)
    wait = time.monotonic() + 20
    while running.report()["verified"] is None:
        assert time.monotonic() < wait
        time.sleep(0.02)
    report = running.report()
    assert (report["verified"], report["reason"]) == (False, "OutputMismatch")
    assert "worst: sample 17" in report["message"]
    status, words = running.get("/readyz")
    assert status == 503
    assert "worst: sample 17" in words
    assert running.get("/livez")[0] == 200


def test_the_ensemble_is_verified_before_the_pod_is_ready(
    start: Start, root: Path, published: Published, tmp_path: Path, probe: Begin
) -> None:
    settings = Settings.of_json('{"ensemble": {"top": 2}}')
    fetch(root, "digits", 1, published.digest, tmp_path, settings)
    running = probe(tmp_path / "version", start(tmp_path / "repository"), "--ensemble")
    running.wait_for("/readyz", 200)
    assert running.report()["message"].endswith("; digits-ensemble is right, too; digits-labels is right, too")


def test_a_server_that_lacks_the_ensemble_never_becomes_ready(
    server: DevelopmentServer, fetched: Path, probe: Begin
) -> None:
    running = probe(fetched / "version", server, "--ensemble")
    wait = time.monotonic() + 20
    while running.report()["reason"] == "Waiting":
        assert time.monotonic() < wait
        time.sleep(0.02)
    assert running.report()["reason"] == "InferenceFailed"
    assert "digits-ensemble" in running.report()["message"]
    assert (running.get("/readyz")[0], running.get("/livez")[0]) == (503, 200)


def test_a_killed_backend_process_fails_liveness_within_5_s_and_a_restart_heals_it(
    start: Start, fetched: Path, tmp_path: Path, probe: Begin
) -> None:
    python_models.write(tmp_path / "in-python", "digits", convnet())
    server = start(tmp_path / "in-python")
    dead = tmp_path / "dead"
    running = probe(fetched / "version", server, "--dead-file", dead)
    running.wait_for("/readyz", 200)
    assert (running.get("/livez")[0], dead.exists()) == (200, False)
    (stub,) = [
        process
        for process in psutil.Process(server.process.pid).children(recursive=True)
        if process.name().startswith("triton_python")
    ]
    stub.kill()
    assert running.wait_for("/livez", 503) < 5
    assert dead.exists(), "a preStop hook that finds it drains nothing"
    assert server.ready(), "Triton's own readiness notices a dead backend now: is this probe still needed?"
    server.kill()
    assert running.get("/livez")[0] == 503
    server.start()
    assert running.wait_for("/livez", 200) < 5
    assert (running.get("/readyz")[0], dead.exists()) == (200, False)


def test_the_probe_waits_for_a_server_that_comes_later(start: Start, fetched: Path, probe: Begin) -> None:
    server = start()
    server.kill()
    running = probe(fetched / "version", server)
    assert running.report() | {"message": ""} == {
        "formatVersion": 1,
        "verified": None,
        "reason": "Waiting",
        "message": "",
        "samples": 48,
        "batching": None,
        "maxAbs": None,
        "maxRel": None,
        "p50Ms": None,
        "p99Ms": None,
    }
    assert [running.get(path)[0] for path in ("/startz", "/readyz", "/livez")] == [503, 503, 503]
    server.start()
    running.wait_for("/startz", 200)
    running.wait_for("/readyz", 200)


def test_the_probe_refuses_a_version_without_samples_and_one_whose_samples_are_too_large(
    fetched: Path, tmp_path: Path
) -> None:
    shutil.copytree(fetched / "version", tmp_path / "version")
    (tmp_path / "version/samples.npz").unlink()
    arguments = ["--model-name", "digits", "--url", "127.0.0.1:1", "--listen", "127.0.0.1:0"]
    status, _, errors = run("probe", "--version", tmp_path / "version", *arguments)
    assert (status, "samples.npz" in errors) == (1, True)
    small = {"TRAINSERVE_LIMITS": '{"samples": "1Ki"}', "PATH": ""}
    status, _, errors = run("probe", "--version", fetched / "version", *arguments, **small)
    assert status == 1
    assert "samples.npz: its arrays take" in " ".join(errors.split())
