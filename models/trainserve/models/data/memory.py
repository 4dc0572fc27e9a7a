"""Memory available for a data set, on the GPU or in this pod."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

SHARE = 0.5
"""Share of the free memory that data may fill: the model and its activations need the rest."""


def fits(size: int, free: int) -> bool:
    """Whether `size` bytes of data may be kept in memory with `free` bytes free."""
    return size <= free * SHARE


def free(device: torch.device) -> int:
    """Free bytes on the device. On the host this is for all processes: those that map one file share its pages."""
    if device.type == "cuda":
        import torch

        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    return host(Path("/proc/meminfo"), Path("/sys/fs/cgroup"))


def host(meminfo: Path, cgroup: Path) -> int:
    """Bytes available in host memory: the smaller of the machine's and what the cgroup's limit leaves.

    Source: the kernel's documentation of /proc/meminfo (MemAvailable) and of cgroups v1 and v2. As Kubernetes does, the
    inactive page cache counts as free: it is reclaimed before any process is killed.
    """
    fields = dict(line.split(":") for line in meminfo.read_text().splitlines())
    available = int(fields["MemAvailable"].split()[0]) * 1024
    left = _left(cgroup, "memory.max", "memory.current", "memory.stat", "inactive_file")
    if left is None:
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat", "total_inactive_file")
        left = _left(cgroup / "memory", *names)
    return available if left is None else max(0, min(available, left))


def _left(folder: Path, limit: str, usage: str, statistics: str, cached: str) -> int | None:
    """Bytes left below the cgroup's limit; None without a limit."""
    try:
        allowed = (folder / limit).read_text().strip()
        used = int((folder / usage).read_text())
        counts = dict(line.split() for line in (folder / statistics).read_text().splitlines())
    except (OSError, ValueError):
        return None
    return None if allowed == "max" else int(allowed) - used + int(counts.get(cached, 0))
