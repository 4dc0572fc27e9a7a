"""Size limits of .npz arrays: sizes are read from the headers and checked before memory is allocated.

A file of a few MB can claim any number of GiB, in zip headers and in array headers.
"""

from __future__ import annotations

import contextlib
import math
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np


class TooLarge(ValueError):
    """The arrays are too large; the message names the file, its size and the limit."""


def check(file: Path | IO[bytes], most: int, where: str) -> None:
    """Raise TooLarge if the arrays take more than `most` bytes in all; `where` names the file in messages.

    A file that is not an .npz passes, since its reader reports that.
    """
    total = 0
    with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(file) as content:
        members = content.infolist()
        _compare(sum(info.file_size for info in members), most, where)
        for info in members:
            total += max(info.file_size, _claimed(content, info))
            _compare(total, most, where)
    if not isinstance(file, Path):
        file.seek(0)


def _compare(size: int, most: int, where: str) -> None:
    if size > most:
        raise TooLarge(f"{where}: its arrays take {size / 2**20:.3g} MiB; at most {most / 2**20:.3g} MiB are allowed")


def _claimed(content: zipfile.ZipFile, info: zipfile.ZipInfo) -> int:
    """Return the size in bytes of an array according to its own header; 0 if that cannot be read."""
    try:
        with content.open(info) as member:
            version = np.lib.format.read_magic(member)
            read: Any = np.lib.format.read_array_header_1_0 if version == (1, 0) else _later
            shape, _, dtype = read(member)
    except Exception:  # damaged bytes make zipfile, zlib and numpy raise nearly anything
        return 0
    return int(math.prod(shape) * dtype.itemsize)


def _later(member: IO[bytes]) -> Any:
    """Read a header of version 2 or 3, which differ only in the encoding of names."""
    return np.lib.format.read_array_header_2_0(member)
