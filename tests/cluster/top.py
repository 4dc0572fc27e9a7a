"""Helpers that run `trainserve top`, parse its output and press its keys."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
from pathlib import Path

from tests.cluster.support import HANG, wait_for

PROGRAM = Path(sys.executable).parent / "trainserve"


def top(kubeconfig: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "TERM")}
    return subprocess.run(
        [str(PROGRAM), "top", *arguments],
        env={**kept, "KUBECONFIG": str(kubeconfig), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=HANG,
        check=False,
    )


def rows(printed: str, kind: str) -> dict[str, dict[str, str]]:
    """Parse one table into rows by name and heading; everything from WHY on is one cell."""
    lines = iter(printed.splitlines())
    heading = next(line.split() for line in lines if kind in line.split())
    found = {}
    for line in lines:
        if not line:
            break
        cells = re.split(r" +", line, maxsplit=len(heading) - 1)
        found[cells[heading.index(kind)]] = dict(zip(heading, cells, strict=False))
    return found


class Screen:
    """`trainserve top` on its own terminal."""

    def __init__(self, kubeconfig: Path, folder: Path, *arguments: str) -> None:
        self.printed = b""
        self.process, self._terminal = -1, -1
        environment = os.environ | {"KUBECONFIG": str(kubeconfig), "TERM": "xterm", "TMPDIR": str(folder)}
        environment.pop("COLUMNS", None)
        self.process, self._terminal = pty.fork()
        if self.process == 0:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # tests that run in the background inherit an ignored SIGINT
            os.execve(str(PROGRAM), [str(PROGRAM), "top", *arguments], environment)
        self.resize(30, 120)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # the other end is closed
            while part := os.read(self._terminal, 65536):
                self.printed += part

    def resize(self, lines: int, columns: int) -> None:
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def wait(self, words: str, since: int = 0) -> None:
        wait_for(lambda: words.encode() in self.printed[since:], HANG, lambda: repr(self.printed[since:]))

    def press(self, key: str) -> int:
        """Press a key; return the number of bytes printed before."""
        before = len(self.printed)
        os.write(self._terminal, key.encode())
        return before

    def ended(self) -> int:
        """Wait for the end; return the exit status."""
        ended, status = 0, 0

        def over() -> bool:
            nonlocal ended, status
            ended, status = os.waitpid(self.process, os.WNOHANG)
            return ended == self.process

        wait_for(over, HANG, lambda: repr(self.printed[-2000:]))
        self._reader.join(HANG)
        os.close(self._terminal)
        return os.waitstatus_to_exitcode(status)
