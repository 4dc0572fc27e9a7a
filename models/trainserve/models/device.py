"""The device of a run: the GPU if torch has one, else the CPU with as many threads as the pod may use."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

from trainserve.models.errors import UserError
from trainserve.models.rank import Rank

if TYPE_CHECKING:
    import torch


def choose(rank: Rank) -> torch.device:
    """This process's GPU, or the CPU with its number of threads set.

    Raises UserError if there are GPUs, but fewer than processes.
    """
    import torch

    if torch.cuda.is_available():
        if (count := torch.cuda.device_count()) < rank.local_size:
            raise UserError(
                f"LOCAL_WORLD_SIZE: {rank.local_size} processes are not allowed; must be <= the {count} GPUs here"
            )
        on = torch.device("cuda", rank.local)
        torch.cuda.set_device(on)
        torch.backends.cudnn.benchmark = True  # all full parts have the same shape
        return on
    torch.set_num_threads(threads(rank.local_size))
    return torch.device("cpu")


def gpus(on: torch.device) -> tuple[str, ...]:
    """NVML UUIDs of the GPUs that the run's processes on this machine use; empty on the CPU."""
    import torch

    if on.type != "cuda":
        return ()
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return tuple(f"GPU-{torch.cuda.get_device_properties(index).uuid}" for index in range(local))


def threads(processes: int = 1) -> int:
    """OMP_NUM_THREADS if set, else this process's share of the pod's cores, at least 1.

    The pod's cores are those of its CPU affinity, at most as many as the cgroup's CPU limit.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdecimal() and int(asked) > 0:
        return int(asked)
    limit = cpu_limit(Path("/sys/fs/cgroup"))
    cores = len(os.sched_getaffinity(0))
    usable = cores if limit is None else min(cores, math.ceil(limit))
    return max(1, usable // processes)


def cpu_limit(cgroup: Path) -> float | None:
    """The cgroup's CPU limit in cores; None without a limit.

    Source: the kernel's cgroup documentation; v2 cpu.max, v1 cpu.cfs_quota_us and cpu.cfs_period_us.
    """
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (cgroup / "cpu/cpu.cfs_quota_us").read_text().strip()
            period = (cgroup / "cpu/cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    if quota in ("max", "-1"):
        return None
    return int(quota) / int(period)
