"""On what a run computes: the GPU that torch sees, else the CPU with as many threads as this pod may use."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def choose() -> torch.device:
    """The first visible GPU, else the CPU, its threads set."""
    import torch

    if torch.cuda.is_available():
        return torch.device("cuda", 0)
    torch.set_num_threads(threads())
    return torch.device("cpu")


def gpus(on: torch.device) -> tuple[str, ...]:
    """UUIDs, in NVML's form, of the GPUs that this machine's processes of the run train on; none when it is the CPU."""
    import torch

    if on.type != "cuda":
        return ()
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return tuple(f"GPU-{torch.cuda.get_device_properties(index).uuid}" for index in range(local))


def threads() -> int:
    """OMP_NUM_THREADS where it is set, else the cores this process may run on, at most the cgroup's CPU limit."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdecimal() and int(asked) > 0:
        return int(asked)
    limit = cpu_limit(Path("/sys/fs/cgroup"))
    cores = len(os.sched_getaffinity(0))
    return cores if limit is None else max(1, min(cores, math.ceil(limit)))


def cpu_limit(cgroup: Path) -> float | None:
    """Cores that the cgroup grants, None without a limit.

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
