"""The development `tritonserver` as a process: flags, signals, shared memory, other servers on the machine."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.serving import python_models
from tests.serving.graphs import convnet
from tests.serving.versions import answers, images
from trainserve.client import Client
from trainserve.serving.devserver import launch
from trainserve.serving.devserver.server import DevelopmentServer, ServerNotReady

Start = Callable[..., DevelopmentServer]


def prefix_of(server: DevelopmentServer) -> str:
    (process,) = psutil.Process(server.process.pid).children()
    (option,) = [argument for argument in process.cmdline() if "shm-region-prefix-name=" in argument]
    return option.rpartition("=")[2]


def regions(prefix: str) -> list[str]:
    return [path.name for path in launch.SHARED_MEMORY.glob(f"{prefix}*")]


def wait_until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def right(server: DevelopmentServer) -> bool:
    with Client(server.url) as client:
        answer = client.infer(client.model("digits"), {"images": images(1)})["probabilities"]
    return np.allclose(answer, answers(convnet(), images(1)), rtol=1e-4, atol=1e-6)


def test_flags_of_the_image_pass_unchanged_and_what_the_wheel_needs_is_added() -> None:
    given = ["--model-repository", "models", "--http-address=127.1.2.3", "--http-port", "8000"]
    arguments = launch.server_arguments(given, Path("/rt"), "p-", Path("/work"))
    assert arguments[:5] == ["--model-repository", "/work/models", "--http-address=127.1.2.3", "--http-port", "8000"]
    assert "--http-address=127.0.0.1" not in arguments
    assert {"--grpc-address=127.0.0.1", "--metrics-address=127.0.0.1", "--backend-directory=/rt/backends"} <= set(
        arguments
    )
    assert arguments[-1] == "--backend-config=python,shm-region-prefix-name=p-"


def test_a_flag_is_read_and_left_out_in_either_form() -> None:
    given = ["--http-port=1", "--http-port", "2", "--grpc-port=3", "--http-address", "127.1.2.3", "--strict"]
    assert launch.value(given, "--http-port", "8000") == "2"
    assert launch.value(given, "--metrics-port", "8002") == "8002"
    assert launch.without(given, ["--http-port", "--http-address"]) == ["--grpc-port=3", "--strict"]


@pytest.mark.parametrize("repository", ["/abs/models", "models"])
def test_a_relative_repository_is_meant_from_where_the_caller_stands(repository: str) -> None:
    (first, *_) = launch.server_arguments([f"--model-repository={repository}"], Path("/rt"), "p-", Path("/work"))
    assert first == f"--model-repository={Path('/work') / repository}"


def test_sigterm_ends_the_server_and_leaves_no_shared_memory(start: Start, in_python: Path) -> None:
    server = start(in_python)
    prefix = prefix_of(server)
    assert len(regions(prefix)) > 1
    processes = psutil.Process(server.process.pid).children(recursive=True)
    assert server.stop() == 0
    assert regions(prefix) == []
    wait_until(lambda: not any(process.is_running() for process in processes))


def test_an_idle_keep_alive_connection_does_not_use_up_the_exit_timeout(start: Start) -> None:
    server = start(None, "--exit-timeout-secs=60")
    prefix = prefix_of(server)
    with Client(server.url) as client:
        client.models()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
    assert regions(prefix) == []


def test_without_the_guard_an_idle_connection_costs_the_exit_timeout_and_leaves_no_shared_memory(start: Start) -> None:
    server = start(None, "--exit-timeout-secs=1", "--guard=off")
    prefix = prefix_of(server)
    with Client(server.url) as client:
        client.models()
        assert server.stop() == 1
    assert regions(prefix) == []


@pytest.fixture
def in_python(tmp_path: Path) -> Path:
    """A repository with a python-backend model, which runs in a separate process."""
    python_models.write(tmp_path / "in-python", "digits", convnet())
    return tmp_path / "in-python"


@pytest.mark.parametrize("victim", ["tritonserver", "backend", "launcher"])
def test_whoever_is_killed_no_shared_memory_is_left(start: Start, in_python: Path, victim: str) -> None:
    server = start(in_python)
    prefix = prefix_of(server)
    launcher = psutil.Process(server.process.pid)
    (triton,) = launcher.children()
    (backend,) = triton.children()
    {"tritonserver": triton, "backend": backend, "launcher": launcher}[victim].kill()
    if victim == "backend":
        triton.kill()
    server.process.wait()
    wait_until(lambda: not regions(prefix))


@pytest.mark.parametrize("victim", ["tritonserver", "launcher"])
def test_a_backend_that_hangs_is_ended_with_its_server(start: Start, in_python: Path, victim: str) -> None:
    server = start(in_python)
    prefix = prefix_of(server)
    launcher = psutil.Process(server.process.pid)
    (triton,) = launcher.children()
    (backend,) = triton.children()
    backend.suspend()
    {"tritonserver": triton, "launcher": launcher}[victim].kill()
    server.process.wait()
    wait_until(lambda: not backend.is_running() and not regions(prefix))


def test_a_request_that_is_being_answered_at_sigterm_is_answered(start: Start) -> None:
    server = start()
    body = b'{"inputs": [{"name": "images", "datatype": "UINT8", "shape": [1, 28, 28, 1], "data": [%s]}]}'
    body %= b",".join([b"7"] * 784)
    head = b"POST /v2/models/digits/infer HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    with (
        socket.create_connection(("127.0.0.1", server.http_port), 20) as asking,
        socket.create_connection(("127.0.0.1", server.http_port), 20) as idle,
    ):
        asking.sendall(head + body[:100])
        server.process.send_signal(signal.SIGTERM)
        assert idle.recv(1) == b""
        asking.sendall(body[100:])
        answer = asking.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 200 OK\r\nConnection: close\r\n")
    assert server.process.wait(30) == 0


def test_a_port_in_use_ends_the_command_with_a_reason(start: Start, server: DevelopmentServer) -> None:
    with pytest.raises(ServerNotReady, match=f"cannot listen on 127.0.0.1:{server.http_port}: Address already in use"):
        start(None, f"--http-port={server.http_port}")


def test_a_killed_server_takes_its_processes_along_and_the_next_start_sweeps_its_shared_memory(start: Start) -> None:
    server = start()
    prefix = prefix_of(server)
    processes = psutil.Process(server.process.pid).children(recursive=True)
    os.kill(server.process.pid, signal.SIGKILL)
    wait_until(lambda: not any(process.is_running() for process in processes))
    assert right(start())
    assert regions(prefix) == []


def test_servers_side_by_side_do_not_disturb_each_other(server: DevelopmentServer, start: Start) -> None:
    other = start()
    assert prefix_of(server) != prefix_of(other)
    assert right(server)
    assert right(other)
    other.kill()
    assert right(server)
    assert regions(prefix_of(server))


def test_a_module_in_the_callers_folder_does_not_shadow_the_backend(
    start: Start, in_python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.py").write_text("raise RuntimeError('shadowed')")
    monkeypatch.chdir(tmp_path)
    assert right(start(in_python))


def test_a_broken_graph_ends_the_server_with_a_reason(command: Path, tmp_path: Path) -> None:
    (tmp_path / "models/broken/1").mkdir(parents=True)
    (tmp_path / "models/broken/1/model.onnx").write_bytes(b"not a graph")
    (tmp_path / "models/broken/config.pbtxt").write_text('backend: "onnxruntime"')
    with pytest.raises(ServerNotReady, match="INVALID_PROTOBUF"):
        DevelopmentServer(command, tmp_path / "models", tmp_path / "log").start()


def test_a_lock_that_is_held_keeps_its_prefix_from_the_sweep(tmp_path: Path) -> None:
    prefix, lock = launch.take_prefix(tmp_path)
    (tmp_path / f"{prefix}region").touch()
    assert launch.sweep(tmp_path) == []
    os.close(lock)
    assert launch.sweep(tmp_path) == [prefix]
    assert list(tmp_path.iterdir()) == []


def test_help_is_the_servers_own(command: Path) -> None:
    finished = subprocess.run([str(command), "--help"], capture_output=True, text=True, check=False)
    assert "--model-repository" in finished.stdout + finished.stderr
