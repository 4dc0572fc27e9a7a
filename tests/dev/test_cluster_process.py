"""Starting, identifying and stopping real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from trainserve.dev import process
from trainserve.dev.process import Process

Start = Callable[..., Process]
SLEEP = "import time; print('up', flush=True); time.sleep(600)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Process] = []

    def start_python(code: str, mark: str = "test") -> Process:
        log = tmp_path / f"{len(started)}.log"
        environment = dict(os.environ)
        one = process.start([sys.executable, "-c", code], mark=mark, log=log, environment=environment)
        started.append(one)
        while "up" not in log.read_text():
            assert one.alive
        return one

    yield start_python
    process.stop(started, grace=0)


def test_a_started_program_leads_a_session_of_its_own(start: Start) -> None:
    one = start(SLEEP)
    assert one.alive
    assert os.getsid(one.pid) == one.pid


def test_a_program_outlives_its_starter(tmp_path: Path) -> None:
    code = (
        "import os; from pathlib import Path; from trainserve.dev import process;"
        f"log = Path({str(tmp_path / 'log')!r});"
        "one = process.start(['sleep', '600'], mark='test', log=log, environment=dict(os.environ));"
        "print(one.pid, one.started)"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    pid, started = printed.split()
    survivor = Process(int(pid), float(started), ("sleep", "600"))
    assert survivor.alive
    process.stop([survivor])
    assert not survivor.alive


def test_stop_is_gentle_first(start: Start, tmp_path: Path) -> None:
    farewell = tmp_path / "farewell"
    code = f"""
import signal, sys

def leave(*_):
    open({str(farewell)!r}, "w").close()
    sys.exit()

signal.signal(signal.SIGTERM, leave)
print("up", flush=True)
signal.pause()
"""
    one = start(code)
    process.stop([one])
    assert not one.alive
    assert farewell.exists()


def test_what_ignores_sigterm_is_killed_after_its_grace(start: Start) -> None:
    one = start(STUBBORN)
    process.stop([one], grace=0.2)
    assert not one.alive


def test_a_reused_pid_is_never_touched(start: Start) -> None:
    bystander = start(SLEEP)
    former = replace(bystander, started=bystander.started - 3600)
    assert not former.alive
    process.stop([former])
    former.send(signal.SIGKILL)
    assert bystander.alive


def test_a_killed_child_that_nobody_waited_for_is_not_alive(start: Start) -> None:
    one = start(SLEEP)
    os.kill(one.pid, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(one.pid)] if psutil.pid_exists(one.pid) else [], timeout=30)
    assert not one.alive


def test_a_program_is_found_by_its_mark_without_any_record(start: Start, tmp_path: Path) -> None:
    one, _other = start(SLEEP, f"{tmp_path}/a:etcd"), start(SLEEP, f"{tmp_path}/ab:etcd")
    assert [each.pid for each in process.marked(f"{tmp_path}/a:")] == [one.pid]


def test_the_last_words_of_a_log_are_its_last_line_that_says_something(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert process.last_words(log) == ""
    log.write_text("first\nbind: address already in use\n\n")
    assert process.last_words(log) == "bind: address already in use"
