"""Memory and CPU limits of containers, by cgroup v1 or v2, whichever the machine has.

Groups lie directly below the hierarchy's root, under a name derived from the agent's folder, so that a later process
finds them without a record. If they cannot be written, limits are not enforced, and one warning is logged.
"""

import contextlib
import hashlib
import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
CPU_PERIOD_MICROSECONDS = 100_000

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """`memory` in bytes, `cpu` in cores; None is unlimited."""

    memory: int | None = None
    cpu: float | None = None


class Cgroups:
    """The cgroups of one agent's containers."""

    def __init__(self, directory: Path, root: Path = ROOT) -> None:
        self._name = group_name(directory)
        self._root = root
        self._unified = (root / "cgroup.controllers").exists()
        self._usable = True
        if self._unified:
            with contextlib.suppress(OSError):
                for parent in (root, root / self._name):
                    parent.mkdir(exist_ok=True)
                    (parent / "cgroup.subtree_control").write_text("+memory +cpu")

    def create(self, container: str, limits: Limits) -> list[Path]:
        """Create and return the cgroups of `container` (an id without slashes), for its first process to join.

        Returns an empty list if `limits` sets none, or if cgroups cannot be written.
        """
        try:
            return self._create_unified(container, limits) if self._unified else self._create_split(container, limits)
        except OSError as error:
            if self._usable:
                logger.warning("cgroups cannot be written (%s): memory and cpu limits are not enforced", error)
            self._usable = False
            return []

    def out_of_memory(self, container: str) -> bool:
        """Return whether the kernel killed a process of the container for reaching its memory limit."""
        events = "memory.events" if self._unified else "memory.oom_control"
        group = self._root / ("" if self._unified else "memory") / self._name / container
        with contextlib.suppress(OSError):
            counts = dict(line.split() for line in (group / events).read_text().splitlines())
            return int(counts.get("oom_kill", 0)) > 0
        return False

    def remove(self, container: str) -> None:
        """Delete a container's cgroups; its processes must have ended."""
        for hierarchy in ("", "memory", "cpu"):
            _remove(self._root / hierarchy / self._name / container)

    def _create_unified(self, container: str, limits: Limits) -> list[Path]:
        if limits == Limits():
            return []
        group = self._root / self._name / container
        group.mkdir(parents=True, exist_ok=True)
        if limits.memory is not None:
            (group / "memory.max").write_text(str(limits.memory))
            with contextlib.suppress(OSError):  # absent without swap accounting
                (group / "memory.swap.max").write_text("0")
        if limits.cpu is not None:
            (group / "cpu.max").write_text(f"{_quota(limits.cpu)} {CPU_PERIOD_MICROSECONDS}")
            _weigh(group.parent, "cpu.weight", 100, 10_000)
        return [group]

    def _create_split(self, container: str, limits: Limits) -> list[Path]:
        groups = []
        if limits.memory is not None:
            group = self._root / "memory" / self._name / container
            group.mkdir(parents=True, exist_ok=True)
            (group / "memory.limit_in_bytes").write_text(str(limits.memory))
            with contextlib.suppress(OSError):  # absent without swap accounting
                (group / "memory.memsw.limit_in_bytes").write_text(str(limits.memory))
            groups.append(group)
        if limits.cpu is not None:
            group = self._root / "cpu" / self._name / container
            group.mkdir(parents=True, exist_ok=True)
            (group / "cpu.cfs_period_us").write_text(str(CPU_PERIOD_MICROSECONDS))
            (group / "cpu.cfs_quota_us").write_text(str(_quota(limits.cpu)))
            _weigh(group.parent, "cpu.shares", 1024, 262_144)
            groups.append(group)
        return groups


def remove_all(directory: Path, root: Path = ROOT) -> None:
    """Delete the cgroups of all containers of the agent with state in `directory`; their processes must have ended."""
    for hierarchy in ("", "memory", "cpu"):
        parent = root / hierarchy / group_name(directory)
        if parent.is_dir():
            for group in parent.iterdir():
                if group.is_dir():
                    _remove(group)
            _remove(parent)


def _weigh(parent: Path, file: str, process: int, most: int) -> None:
    """Set the CPU weight of the containers' common `parent` to `process` per container, counting at most one per core.

    A kubelet weights its pods alike. With the default, all containers together would have the weight of one process.
    """
    containers = sum(each.is_dir() for each in parent.iterdir())
    with contextlib.suppress(OSError):
        (parent / file).write_text(str(min(process * min(containers, os.cpu_count() or 1), most)))


def _remove(group: Path) -> None:
    # A killed process leaves its group a moment after it is reaped.
    for _ in range(50):
        try:
            group.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.002)
        else:
            return
    logger.warning("cgroup %s could not be removed", group)


def _quota(cpu: float) -> int:
    return max(1000, int(cpu * CPU_PERIOD_MICROSECONDS))


def group_name(directory: Path) -> str:
    """Return the name of the parent cgroup of all containers of the agent with state in `directory`."""
    return "trainserve-" + hashlib.sha256(os.fsencode(directory.resolve())).hexdigest()[:12]
