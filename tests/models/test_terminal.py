"""What a run prints: a progress bar, plain lines or lines of JSON."""

import json
import os
import pty
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from trainserve.models.progress import Progress
from trainserve.models.terminal import Terminal, duration
from trainserve.models.train import Report

from .conftest import digits_config


@pytest.fixture
def progress() -> Progress:
    return Progress()


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
            except OSError:  # how Linux reports that the other end of a terminal was closed
                break
    os.close(controller)
    assert process.returncode == 0
    text = shown.decode()
    assert "epoch 2/2" in text
    assert "100%" in text
    assert "\x1b[" in text, "drawn in place"
    assert '"outcome": "Published"' in text


def trained(terminal: Terminal, progress: Progress, **changes: Any) -> None:
    """Report one step of a training to the terminal, as the run does."""
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
