"""What a run says: to Kubernetes, over HTTP, and on a terminal."""

import json
import os
import pty
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import datetime
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainserve.api import messages
from trainserve.models import result, server, telling
from trainserve.models.errors import Interrupted
from trainserve.models.interrupt import Interrupt
from trainserve.models.progress import Progress
from trainserve.models.terminal import Terminal, duration
from trainserve.models.train import Report

from .conftest import digits_config, free_port


@given(text=st.text(max_size=3000))
def test_a_termination_message_is_always_json_under_4_kib(text: str) -> None:
    failed = result.failure("UserError", text, Progress(), {"accuracy": 0.5})
    line, message = result.encode(failed), failed.wire()
    assert len(line.encode()) < 4096
    parsed = json.loads(line)
    assert {**parsed, "message": ""} == {**message, "message": ""}
    head, gap, tail = parsed["message"].partition(messages.GAP)
    whole = message["message"] == parsed["message"]
    assert whole or (message["message"].startswith(head) and gap and message["message"].endswith(tail))


def test_a_long_message_is_cut_and_a_short_one_is_not() -> None:
    short, long = (result.failure("DataError", text, Progress(), {}) for text in ("short", "x" * 9000))
    assert json.loads(result.encode(short))["message"] == "short"
    assert len(result.encode(long)) > 4000
    assert messages.GAP in json.loads(result.encode(long))["message"]


@given(text=st.text(max_size=300), room=st.integers(40, 400))
def test_a_shortened_text_fits_as_json_and_keeps_its_last_words(text: str, room: int) -> None:
    shown = messages.shortened(text, room)
    assert len(json.dumps(shown)) - 2 <= room
    assert shown == text or shown.endswith(text[-1:])


def test_a_long_text_keeps_what_it_begins_and_what_it_ends_with() -> None:
    text = "model.script: train.py, line 3: " + "x" * 9000 + " no space is left"
    shown = json.loads(result.encode(result.failure("UserError", text, Progress(), {})))["message"]
    assert shown.startswith("model.script: train.py, line 3: x")
    assert shown.endswith("x no space is left")


IN_A_WORKER = """Caught KeyError in DataLoader worker process 0.
Original Traceback (most recent call last):
  File "/lib/site-packages/torch/utils/data/_utils/worker.py", line 374, in _worker_loop
    data = fetcher.fetch(index)
           ^^^^^^^^^^^^^^^^^^^^
  File "/home/me/train.py", line 9, in __getitem__
    return self.images[index]

  File "/lib/site-packages/pandas/base.py", line 1, in get
KeyError: 'x'
"""
SPAWNED = """

-- Process 1 terminated with the following error:
Traceback (most recent call last):
  File "/home/me/train.py", line 4, in work
    raise ValueError(text)
ValueError: first
second
"""


@pytest.mark.parametrize(
    ("error", "text", "place"),
    [
        (
            RuntimeError(IN_A_WORKER),
            "RuntimeError: Caught KeyError in DataLoader worker process 0.\nKeyError: 'x'",
            "train.py, line 9",
        ),
        (
            RuntimeError(SPAWNED),
            "RuntimeError: -- Process 1 terminated with the following error:\nValueError: first\nsecond",
            "train.py, line 4",
        ),
        (KeyError("x"), "KeyError: 'x'", None),
        (ValueError(), "ValueError", None),
        (ValueError("a\n  b"), "ValueError: a\n  b", None),
    ],
)
def test_an_error_is_told_by_its_last_words_and_the_users_own_line(
    error: Exception, text: str, place: str | None
) -> None:
    assert telling.told(error) == text
    assert telling.place(Path("/home/me/train.py"), str(error)) == place


@pytest.mark.parametrize(
    "text",
    [
        "unable to allocate shared memory(shm) for file </torch_1_2_3>: No space left on device (28)",
        "unable to write to file </torch_25380_2054996045_1>: No space left on device (28)",
        "DataLoader worker (pid 7) is killed by signal: Bus error.",
        "DataLoader worker (pid(s) 7) exited unexpectedly",
        "[Errno 28] No space left on device: '/psm_1234'",
    ],
)
def test_a_full_shared_memory_is_told_with_its_size_and_what_to_do(text: str) -> None:
    told = telling.told(RuntimeError(text))
    assert told.startswith(f"RuntimeError: {text}; DataLoader workers pass batches through /dev/shm, which has ")
    assert told.endswith("or raise resources.memory (a quarter of it is /dev/shm)")


def test_another_error_says_nothing_of_shared_memory() -> None:
    assert telling.told(OSError(28, "No space left on device")) == "OSError: [Errno 28] No space left on device"


def test_a_message_of_several_lines_becomes_one() -> None:
    assert result.failure("UserError", "one\n  two", Progress(), {}).message == "one two"


def test_a_termination_log_that_cannot_be_written_does_not_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRAINSERVE_TERMINATION_LOG", str(tmp_path / "absent" / "log"))
    result.write(messages.Trained())
    out, err = capsys.readouterr()
    assert json.loads(out) == {"formatVersion": 1, "outcome": "Trained"}
    assert "No such file or directory" in err


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
        asker.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # so that it ends with a reset
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


def test_a_terminal_gets_a_progress_bar(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(digits_config(tmp_path / "store", trainer={"epochs": 2}, gates={"minAccuracy": 0.5})))
    controller, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "trainserve.models", str(path)],
        stdout=terminal,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    ) as process:
        os.close(terminal)
        shown = b""
        while True:
            try:
                shown += os.read(controller, 65536)
            except OSError:  # how Linux says that the other end of a terminal was closed
                break
    os.close(controller)
    assert process.returncode == 0
    text = shown.decode()
    assert "epoch 2/2" in text
    assert "100%" in text
    assert "\x1b[" in text, "drawn in place"
    assert '"outcome": "Published"' in text


def trained(terminal: Terminal, progress: Progress, **changes: Any) -> None:
    """A moment of a training, as the run hands it to the terminal."""
    report = {"epoch": 2, "step": 15, "steps": 20, "samples": 960, "seconds": 3.0, "loss": 0.25, "accuracy": 0.5}
    last = Report(**{**report, "epoch_ended": False, "samples_per_second": 320.0, **changes})
    progress.update(epoch=last.epoch, epochs=3, step=last.step, loss=last.loss, accuracy=last.accuracy, eta_seconds=1.0)
    terminal.trained(last, progress.state)


def test_without_a_terminal_progress_is_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with Terminal(time.perf_counter()) as terminal:
        progress = Progress()
        progress.update(samples_per_second=320.0)
        trained(terminal, progress)
        terminal.say("energy: 3 J (rapl)", joules=3.0)
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith(" s  epoch 2/3  loss 0.2500  accuracy 0.5000  320 images/s  ETA 1 s  75 %")
    assert second.endswith(" s  energy: 3 J (rapl)")


def test_plain_lines_of_one_epoch_are_seconds_apart_and_the_last_is_always_written(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Terminal(time.perf_counter()) as terminal:
        for step in (15, 16, 17, 20):
            trained(terminal, Progress(), step=step)
    assert [line.split()[-2] for line in capsys.readouterr().out.splitlines()] == ["75", "100"]


def test_a_regression_has_no_accuracy_to_tell(capsys: pytest.CaptureFixture[str]) -> None:
    with Terminal(time.perf_counter()) as terminal:
        trained(terminal, Progress(), accuracy=None)
    assert "accuracy" not in capsys.readouterr().out


def test_on_request_every_line_is_json_with_time_event_and_the_numbers_of_progress(
    capsys: pytest.CaptureFixture[str],
) -> None:
    progress = Progress()
    progress.update(gpu_utilization=0.9, gpu_memory_bytes=2**30)
    with Terminal(time.perf_counter(), "json") as terminal:
        terminal.say("test split: accuracy 0.9", accuracy=0.9)
        trained(terminal, progress)
    said, training = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    for line in (said, training):
        assert datetime.fromisoformat(line.pop("time")).tzinfo is not None
    assert said == {"event": "test split", "message": "accuracy 0.9", "accuracy": 0.9}
    assert training.pop("event") == "training"
    progress_now = progress.report()
    del progress_now["updatedTime"], progress_now["formatVersion"]
    assert training == progress_now
    assert {"epoch", "loss", "accuracy", "etaSeconds", "gpuUtilization", "gpuMemoryBytes"} <= training.keys()


def test_json_lines_are_json_lines_on_a_terminal_too(monkeypatch: pytest.MonkeyPatch) -> None:
    controller, end = pty.openpty()
    with os.fdopen(end, "w") as tty:
        monkeypatch.setattr(sys, "stdout", tty)
        with Terminal(time.perf_counter(), "json") as terminal:
            terminal.say("data: digits")
    assert json.loads(os.read(controller, 65536))["message"] == "digits"
    os.close(controller)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (99.4, "99 s"), (187, "3:07 min"), (5999, "99:59 min"), (7500, "2:05 h")]
)
def test_a_duration_is_worded_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_sigterm_raises_at_once_outside_of_training() -> None:
    interrupt = Interrupt()
    with pytest.raises(Interrupted):
        interrupt._signalled(15, None)


def test_sigterm_waits_for_a_check_inside_of_training_and_is_not_forgotten() -> None:
    interrupt = Interrupt()
    reached = False
    with pytest.raises(Interrupted), interrupt.at_checks_only():
        interrupt._signalled(15, None)
        reached = True
    assert reached


def test_sigterm_after_publishing_began_is_too_late() -> None:
    interrupt = Interrupt()
    interrupt.too_late()
    interrupt._signalled(15, None)
    assert interrupt.requested
