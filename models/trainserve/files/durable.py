"""Atomic writes that survive a loss of power: written under a temporary name, synced, renamed."""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
from pathlib import Path

_MANY = 100
"""Number of files above which syncing the whole file system is faster than syncing them one by one."""


def write(path: Path, content: bytes) -> None:
    """Write `content` to `path` durably and atomically, replacing an existing file. Raises OSError.

    The folder of `path` must exist.
    """
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        aside.write_bytes(content)
        sync(aside)
        aside.replace(path)
    except BaseException as error:
        aside.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)
        raise


def appear(made: Path, final: Path) -> bool:
    """Rename the folder `made` to `final` atomically and durably. Raises OSError.

    Returns False, and leaves `made` unchanged, if `final` already exists.
    """
    try:
        made.rename(final)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            return False
        raise
    sync(final.parent)
    return True


def sync_tree(folder: Path) -> None:
    """Sync a folder and all its content to disk. Raises OSError."""
    paths = [Path(below, name) for below, _, files in os.walk(folder, topdown=False) for name in (*files, "")]
    if len(paths) > _MANY:
        _sync_all(folder)
        return
    for path in paths:
        sync(path)


def sync(path: Path) -> None:
    """Sync one file, or the entries of one folder, to disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        error.filename = error.filename or str(path)
        raise
    finally:
        os.close(descriptor)


def _sync_all(folder: Path) -> None:
    """Sync the whole file system that contains `folder`. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(folder))
    finally:
        os.close(descriptor)
