"""The HTTP server of a training pod: metrics, unknown paths, and ports that are in use."""

import socket
import struct
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import ThreadingHTTPServer

import pytest

from trainserve.models import server
from trainserve.models.progress import Progress

from .conftest import free_port


@pytest.fixture
def progress() -> Progress:
    return Progress()


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch, progress: Progress) -> Iterator[ThreadingHTTPServer]:
    monkeypatch.setenv("POD_IP", "127.0.0.1")
    monkeypatch.setenv("TRAINSERVE_PROGRESS_PORT", str(free_port()))
    listening = server.serve(progress)
    assert listening is not None
    yield listening
    listening.shutdown()
    listening.server_close()


@pytest.fixture
def url(listening: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{listening.server_port}"


def test_an_unknown_path_says_what_there_is(url: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(url + "/config")
    assert error.value.code == 404
    assert error.value.read() == b"not found; there are /progress, /metrics and /healthz\n"


def test_metrics_hold_the_numbers_of_progress(url: str, progress: Progress) -> None:
    progress.update(loss=0.25, accuracy=0.5, samples_per_second=320.0, eta_seconds=42.0, epoch=2, step=15, samples=960)
    with urllib.request.urlopen(url + "/metrics") as answer:
        lines = answer.read().decode().splitlines()
    for line in ("loss 0.25", "accuracy 0.5", "samples_per_second 320.0", "eta_seconds 42.0", "samples_total 960.0"):
        assert f"trainserve_train_{line}" in lines
    assert "trainserve_train_step_duration_seconds_count 15.0" in lines
    assert not [line for line in lines if "_gpu_" in line], "there is none"


def test_metrics_of_a_gpu_that_the_driver_does_not_know_are_absent(url: str, progress: Progress) -> None:
    progress.update(gpus=("GPU-00000000-0000-0000-0000-000000000000",))
    with urllib.request.urlopen(url + "/metrics") as answer:
        assert b"_gpu_" not in answer.read()


def test_metrics_before_the_first_step_hold_no_invented_loss(url: str) -> None:
    with urllib.request.urlopen(url + "/metrics") as answer:
        text = answer.read().decode()
    assert "trainserve_train_progress_ratio 0.0" in text
    assert "trainserve_train_loss" not in text


def test_who_leaves_before_the_answer_leaves_nothing_in_the_log(
    listening: ThreadingHTTPServer, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    handled, shutdown_request = threading.Event(), listening.shutdown_request

    def shutdown_and_tell(request: socket.socket) -> None:
        shutdown_request(request)
        handled.set()

    monkeypatch.setattr(listening, "shutdown_request", shutdown_and_tell)
    with socket.create_connection(("127.0.0.1", listening.server_port)) as asker:
        asker.sendall(b"GET /progress HTTP/1.1\r\n")
        asker.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close with a reset
    assert handled.wait(20)
    assert capfd.readouterr() == ("", "")


def test_without_an_address_nothing_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POD_IP", raising=False)
    assert server.serve(Progress()) is None


@pytest.mark.parametrize("port", ["99999", "http"])
def test_a_port_that_cannot_be_had_is_said_and_the_run_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], port: str
) -> None:
    monkeypatch.setenv("POD_IP", "127.0.0.1")
    monkeypatch.setenv("TRAINSERVE_PROGRESS_PORT", port)
    assert server.serve(Progress()) is None
    assert f"cannot listen on 127.0.0.1:{port}" in capsys.readouterr().err


def test_a_port_in_use_is_said_and_the_run_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setenv("POD_IP", "127.0.0.1")
        monkeypatch.setenv("TRAINSERVE_PROGRESS_PORT", str(taken.getsockname()[1]))
        assert server.serve(Progress()) is None
    assert "Address already in use" in capsys.readouterr().err
