"""Cleanup of what an agent's pods left on the machine, once the agent itself has ended."""

import contextlib
import json
import os
import shutil
import signal
from pathlib import Path

from trainserve.dev.agent import cgroups, processes, sandbox


def cleanup(directory: Path) -> None:
    """Kill every pod process of the agent with state in `directory`, unmount and delete its pods. Idempotent.

    The agent must have ended. So should the API server: otherwise a later agent runs the same pods again.
    """
    agent, pods = directory / "agent", directory / "pods"
    _kill_launcher(agent / "launcher.lock")
    if pods.is_dir():
        processes.kill_using(pods)
        remove_pod_folders(pods)
    cgroups.remove_all(directory)
    shutil.rmtree(agent, ignore_errors=True)


def remove_pod_folders(folder: Path) -> None:
    """Delete a folder of pod state and the tmpfs volumes mounted in it."""
    inside = f"{folder.resolve()}/"
    points = sandbox.parse_mountinfo(Path("/proc/self/mountinfo").read_text())
    for point in reversed(points):
        if point.path.startswith(inside):
            sandbox.unmount(point.path)
    shutil.rmtree(folder, ignore_errors=True)


def _kill_launcher(lock: Path) -> None:
    with contextlib.suppress(OSError, ValueError, ProcessLookupError):
        record = json.loads(lock.read_text())
        if processes.start_ticks(record["pid"]) == record["startTicks"]:
            os.kill(record["pid"], signal.SIGKILL)
