"""IDX, the file format of MNIST and its relatives.

Source: http://yann.lecun.com/exdb/mnist, "The IDX file format": two zero bytes, a byte for the type of the values (8 is
uint8), a byte for the number of dimensions, their sizes as big-endian 32-bit integers, the values in C order.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainserve.models.errors import DataError


def read(path: Path) -> NDArray[np.uint8]:
    """Read the uint8 array of a file. Raises DataError naming the file."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise DataError(
            f"{path}: begins with {content[:4].hex() or 'nothing'}; an IDX file of bytes begins with 000008"
        )
    start = 4 + 4 * content[3]
    if len(content) < start:
        raise DataError(f"{path}: truncated within its header of {start} bytes")
    shape = struct.unpack(f">{content[3]}I", content[4:start])
    expected = start + int(np.prod(shape, dtype=object))
    if len(content) != expected:
        raise DataError(f"{path}: {len(content)} bytes; must be {expected}, as its header says")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
