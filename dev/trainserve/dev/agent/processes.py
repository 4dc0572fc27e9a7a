"""Processes in /proc: identity of a pid over time, and members of a container's sandbox."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from trainserve.dev.agent.sandbox import parse_mountinfo

KILL_SECONDS = 5.0


def start_ticks(pid: int) -> int | None:
    """Return the clock ticks between boot and the start of `pid`, or None if it has ended.

    Together with the pid they identify a process uniquely within one boot.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat[stat.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else int(fields[19])


def boot_id() -> str:
    """Return the kernel's random id of this boot; pids and ticks recorded under another id are invalid."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def kill_members(namespace: int) -> None:
    """SIGKILL every process in a mount namespace, including those that left their parent, group and session.

    `namespace` is an open descriptor of it: while it is open, the kernel does not reuse the namespace's inode.
    """
    inode = os.fstat(namespace).st_ino
    _kill_all(lambda: _members(inode))


def using(folder: Path) -> list[int]:
    """Return pids in other mount namespaces with a mount below `folder`; this finds containers without a record."""
    device, inside = _location(folder)
    own = Path("/proc/self/ns/mnt").stat().st_ino
    verdicts = {own: False}
    found = []
    for pid in _pids():
        with contextlib.suppress(OSError):
            namespace = os.stat(f"/proc/{pid}/ns/mnt").st_ino  # noqa: PTH116
            if namespace not in verdicts:
                points = parse_mountinfo(Path(f"/proc/{pid}/mountinfo").read_text())
                verdicts[namespace] = any(
                    point.device == device and f"{point.root}/".startswith(f"{inside}/") for point in points
                )
            if verdicts[namespace]:
                found.append(pid)
    return found


def kill_using(folder: Path) -> int:
    """SIGKILL the processes that `using` finds until there are none, for at most 5 s. Returns the number killed."""
    return _kill_all(lambda: using(folder))


def _kill_all(find: Callable[[], list[int]]) -> int:
    # Several rounds, as a process may fork meanwhile; a time limit, as one that hangs in the kernel may die only later.
    killed: set[int] = set()
    give_up = time.monotonic() + KILL_SECONDS
    while (pids := find()) and time.monotonic() < give_up:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        killed.update(pids)
        time.sleep(0.001)
    return len(killed)


def _members(inode: int) -> list[int]:
    found = []
    for pid in _pids():
        with contextlib.suppress(OSError):
            if os.stat(f"/proc/{pid}/ns/mnt").st_ino == inode:  # noqa: PTH116 (hot: every process of the machine)
                found.append(pid)
    return found


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208


def _location(folder: Path) -> tuple[str, str]:
    """Return the device of a folder, and the folder's path within that device's file system."""
    path = str(folder.resolve())
    points = parse_mountinfo(Path("/proc/self/mountinfo").read_text())
    point = max(
        (each for each in points if f"{path}/".startswith(f"{each.path.rstrip('/')}/")), key=lambda each: len(each.path)
    )
    inside = f"{point.root.rstrip('/')}/{path[len(point.path.rstrip('/')) :].lstrip('/')}"
    return point.device, inside.rstrip("/")
