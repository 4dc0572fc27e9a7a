"""Writes that others see whole or not at all, and that outlive a loss of power: made aside, synced, renamed."""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
from pathlib import Path

_MANY = 100
"""Files above which it is faster to have all that a file system holds written than one after the other."""


def write(path: Path, content: bytes) -> None:
    """Make `content` the file at `path`, in the place of what was there; its folder must be there. Raises OSError."""
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
    """Give the folder `made` the name `final`, in one step. False where something has it; `made` is then left."""
    try:
        made.rename(final)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            return False
        raise
    sync(final.parent)
    return True


def sync_tree(folder: Path) -> None:
    """Have a folder on the disk with all that is in it. Raises OSError."""
    paths = [Path(below, name) for below, _, files in os.walk(folder, topdown=False) for name in (*files, "")]
    if len(paths) > _MANY:
        _sync_all(folder)
        return
    for path in paths:
        sync(path)


def sync(path: Path) -> None:
    """Have one file, or the names in one folder, on the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        error.filename = error.filename or str(path)
        raise
    finally:
        os.close(descriptor)


def _sync_all(folder: Path) -> None:
    """The whole file system that the folder is on."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(folder))
    finally:
        os.close(descriptor)
