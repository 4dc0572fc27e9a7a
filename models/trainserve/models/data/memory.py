"""How much memory there is for a data set: on the GPU, or in this pod."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

SHARE = 0.5
"""Of what is free, at most this much is filled with data: the model and its activations need the rest."""


def fits(size: int, free: int) -> bool:
    """Whether `size` bytes of data are kept in memory of which `free` bytes are free."""
    return size <= free * SHARE


def free(device: torch.device) -> int:
    """Bytes on the device that data may fill. Of the host's: processes that map one file share its pages."""
    if device.type == "cuda":
        import torch

        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    return host(Path("/proc/meminfo"), Path("/sys/fs/cgroup"))


def host(meminfo: Path, cgroup: Path) -> int:
    """The smaller of what the machine has available and what the cgroup's limit leaves.

    Source: the kernel's documentation of /proc/meminfo (MemAvailable) and of cgroups v1 and v2. As Kubernetes does, the
    page cache that was not used lately is not counted: it is given back before anything is killed.
    """
    fields = dict(line.split(":") for line in meminfo.read_text().splitlines())
    available = int(fields["MemAvailable"].split()[0]) * 1024
    left = _left(cgroup, "memory.max", "memory.current", "memory.stat", "inactive_file")
    if left is None:
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat", "total_inactive_file")
        left = _left(cgroup / "memory", *names)
    return available if left is None else max(0, min(available, left))


def _left(folder: Path, limit: str, usage: str, statistics: str, cached: str) -> int | None:
    """None without a limit."""
    try:
        allowed = (folder / limit).read_text().strip()
        used = int((folder / usage).read_text())
        counts = dict(line.split() for line in (folder / statistics).read_text().splitlines())
    except (OSError, ValueError):
        return None
    return None if allowed == "max" else int(allowed) - used + int(counts.get(cached, 0))
