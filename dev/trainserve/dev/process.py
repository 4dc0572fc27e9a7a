"""Programs that outlive their starter: started detached, identified by pid and start time, stopped by signals."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

GRACE_SECONDS = 10.0
CLOCK_SECONDS = 2.0
"""Tolerance in seconds between two readings of a start time: it is relative to boot, and the clock may be adjusted."""
MARK = "TRAINSERVE_DEV_COMPONENT"
"""Environment variable with a process' cluster and component, by which an unrecorded process can be found."""
KILLED_SECONDS = 30.0
POLL_SECONDS = 0.01
_children: list[subprocess.Popen[bytes]] = []
"""Processes that this process started; they stay zombies until it polls them."""


class StillRunning(Exception):
    """A program that SIGKILL does not end, for instance because it hangs in the kernel; the message names it."""


@dataclass(frozen=True)
class Process:
    """A started program. The pid alone does not identify it, because the kernel reuses pids."""

    pid: int
    started: float
    """Start time in seconds since the epoch, as the kernel reports it (psutil.Process.create_time)."""
    command: tuple[str, ...]

    @property
    def alive(self) -> bool:
        """Whether this program, not another with its pid, still runs."""
        for child in _children:
            child.poll()
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) < CLOCK_SECONDS
            return same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def send(self, number: signal.Signals) -> None:
        """Send a signal to this program, if it still runs."""
        if self.alive:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


def start(
    command: Sequence[str], *, mark: str, log: Path, environment: Mapping[str, str], folder: Path | None = None
) -> Process:
    """Start a program in its own session, appending its output to `log`. Raises OSError."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**environment, MARK: mark},
            cwd=folder,
            start_new_session=True,
        )
    _children.append(child)
    return Process(child.pid, psutil.Process(child.pid).create_time(), tuple(command))


def stop(processes: Iterable[Process], grace: float = GRACE_SECONDS) -> None:
    """Stop programs together: SIGTERM, then SIGKILL for those that still run after `grace` seconds.

    Raises StillRunning if any outlives SIGKILL by 30 s.
    """
    left = [process for process in processes if process.alive]
    for number, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, KILLED_SECONDS)):
        if seconds > 0:
            for process in left:
                process.send(number)
            left = _left_after(left, seconds)
    if left:
        raise StillRunning(f"SIGKILL did not end {', '.join(f'{each.pid} ({each.command[0]})' for each in left)}")


def _left_after(processes: list[Process], seconds: float) -> list[Process]:
    give_up = time.monotonic() + seconds
    while (processes := [process for process in processes if process.alive]) and time.monotonic() < give_up:
        time.sleep(POLL_SECONDS)
    return processes


def marked(prefix: str) -> list[Process]:
    """Return running programs whose mark begins with `prefix`: components, and children that inherited it."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK, "").startswith(prefix):
                found.append(Process(process.pid, process.create_time(), tuple(process.cmdline())))
        except (psutil.Error, OSError):
            continue
    return found


def last_words(log: Path) -> str:
    """Return the last non-empty line of a log, at most 300 characters; empty if there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 8192))
            lines = file.read().decode(errors="replace").strip().splitlines()
    except FileNotFoundError:
        return ""
    return lines[-1][:300] if lines else ""
