"""Shared memory, through which DataLoader workers pass batches, and the errors that show that it is full."""

from __future__ import annotations

import os
import re

from trainserve.api.pod import PodPath

_FULL = re.compile(r"shared memory|/torch_\d|/psm_|signal: Bus error|exited unexpectedly", re.IGNORECASE)


def hint(text: str) -> str:
    """A remedy for an error with the message `text`; empty if that does not concern shared memory."""
    size = _size() if _FULL.search(text) else None
    if size is None:
        return ""
    return (
        f"; DataLoader workers pass batches through {PodPath.SHARED_MEMORY}, which has {_mebibytes(size)}: "
        f"lower num_workers, prefetch_factor or batch_size, or raise resources.memory (a quarter of it "
        f"is {PodPath.SHARED_MEMORY})"
    )


def _size() -> int | None:
    try:
        state = os.statvfs(PodPath.SHARED_MEMORY)
    except OSError:
        return None
    return state.f_blocks * state.f_frsize


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:.0f} MiB"
