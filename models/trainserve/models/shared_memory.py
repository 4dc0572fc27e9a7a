"""Shared memory, through which DataLoader's workers hand over their batches, and how one that is full shows itself."""

from __future__ import annotations

import os
import re

FOLDER = "/dev/shm"  # noqa: S108 (no temporary file of ours is there)
_FULL = re.compile(r"shared memory|/torch_\d|/psm_|signal: Bus error|exited unexpectedly", re.IGNORECASE)


def hint(text: str) -> str:
    """What is to be done about an error that says `text`; empty where it says nothing of shared memory."""
    size = _size() if _FULL.search(text) else None
    if size is None:
        return ""
    return (
        f"; DataLoader workers pass batches through {FOLDER}, which has {_mebibytes(size)}: lower num_workers, "
        f"prefetch_factor or batch_size, or raise resources.memory (a quarter of it is {FOLDER})"
    )


def _size() -> int | None:
    try:
        state = os.statvfs(FOLDER)
    except OSError:
        return None
    return state.f_blocks * state.f_frsize


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:.0f} MiB"
