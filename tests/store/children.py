"""Publishers in separate processes.

They are forked by a process without threads (multiprocessing's forkserver): a test process has the threads of every
library used earlier, gRPC's among them, and was once aborted in `os.fork`.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing.process import BaseProcess

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.store.conftest"])
_FILE_OPERATIONS = {"open", "os.mkdir", "os.rename", "os.listdir", "os.scandir", "fcntl.flock", "os.remove"}
"""Audit events (https://docs.python.org/3/library/audit_events.html)."""


def begin(publish: Callable[[str], object], uid: str, kill_at: int | None = None) -> BaseProcess:
    """Publish for `uid` in a child process, which kills itself at its `kill_at`-th file operation."""
    child = _CONTEXT.Process(target=_publish, args=(publish, uid, kill_at))
    child.start()
    return child


def _publish(publish: Callable[[str], object], uid: str, kill_at: int | None) -> None:
    left = kill_at

    def hook(name: str, arguments: object) -> None:
        nonlocal left
        if left is not None and name in _FILE_OPERATIONS:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    publish(uid)
    os._exit(0)  # exit at once: cleanup at exit is not part of publishing
