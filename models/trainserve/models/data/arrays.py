"""From a Source to a Dataset: checked, split, decoded once, and memory-mapped from the cache if large."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainserve.models.data.cache import Cache
from trainserve.models.data.dataset import Dataset, Images, check, split
from trainserve.models.data.source import Part, Source, release
from trainserve.models.errors import DataError

LARGE = 256 << 20
"""Bytes of decoded images above which they are memory-mapped instead of read into memory."""

Rows = NDArray[np.int64]
Home = tuple[Images, Rows]
"""An array, and the numbers of the samples in its rows."""


def dataset(source: Source, share: float, seed: int, cache: Cache) -> Dataset:
    """Decode `source`. Without a test part, `share` of it is held out, chosen by its targets and `seed`.

    Raises DataError. Targets are checked before anything is decoded.
    """
    if source.test is None:
        train, held_out = split(source.train.targets, share, seed)
        targets = source.train.targets[train], source.train.targets[held_out]
    else:
        train, held_out = np.arange(len(source.train.targets)), np.arange(len(source.test.targets))
        targets = source.train.targets, source.test.targets
    for note in (*source.notes, *check(*targets, source.labels, source.file)):
        cache.watch.say(f"data: {note}")
    if source.bytes() > LARGE:
        images = _mapped(source, train, held_out, share, seed, cache)
    elif not source.encoded:
        images = _new(source, len(train)), _new(source, len(held_out))
        _decode(source, [(images[0], train), (images[1], held_out)], cache)
    else:
        images = _read(source, train, held_out, cache)
    splits = images[0], targets[0], images[1], targets[1]
    return Dataset(source.name, *splits, source.labels, source.task, source.content)


def _mapped(
    source: Source, train: Rows, held_out: Rows, share: float, seed: int, cache: Cache
) -> tuple[Images, Images]:
    """Map each split from its own file, in the order of the split, so that no page is shared by both."""
    divided = "" if source.test else f"-{share!r}-{seed}"

    def make(room: Path) -> None:
        homes = [
            (_create(room / f"{name}.npy", source, len(rows)), rows)
            for name, rows in (("train", train), ("test", held_out))
        ]
        _decode(source, homes, cache)

    folder = cache.get(f"arrays-{source.digest}{divided}", make)
    return _map(folder / "train.npy"), _map(folder / "test.npy")


def _read(source: Source, train: Rows, held_out: Rows, cache: Cache) -> tuple[Images, Images]:
    """Read both splits from one cached copy in the source's order, which runs with all seeds share."""
    parts = [part for part in (source.train, source.test) if part is not None]

    def make(room: Path) -> None:
        for number, part in enumerate(parts):
            everything = np.arange(len(part.targets))
            home = _create(room / f"{number}.npy", source, len(everything)), everything
            _fill(source, part, [home], cache)

    folder = cache.get(f"arrays-{source.digest}", make)
    images = [_map(folder / f"{number}.npy") for number in range(len(parts))]
    return images[0][train], images[-1][held_out]


def _decode(source: Source, homes: Sequence[Home], cache: Cache) -> None:
    if source.test is None:
        _fill(source, source.train, homes, cache)
    else:
        _fill(source, source.train, homes[:1], cache)
        _fill(source, source.test, homes[1:], cache)


def _fill(source: Source, part: Part, homes: Sequence[Home], cache: Cache) -> None:
    """Decode every sample of `part` once, into its row in each of the arrays that has one."""
    places = []
    for array, rows in homes:
        place = np.full(len(part.targets), -1)
        place[rows] = np.arange(len(rows))
        places.append((array, place))
    with cache.watch.task("decoding", len(part.targets), "images") as moved:
        for start, block in _numbered(source, part):
            for array, place in places:
                _put(block, array, place[start : start + len(block)])
                release(array)
            moved(len(block))


def _numbered(source: Source, part: Part) -> Iterator[tuple[int, Images]]:
    """Blocks with the number of their first image. Raises DataError if a damaged file holds more or fewer."""
    start, count = 0, len(part.targets)
    for block in part.blocks():
        if start + len(block) > count:
            raise DataError(f"{source.file}: more than {count} images, and {count} targets; must be equal")
        yield start, block
        start += len(block)
    if start < count:
        raise DataError(f"{source.file}: {start} images, and {count} targets; must be equal")


def _put(block: Images, array: Images, at: Rows) -> None:
    """Copy the images of `block` to the rows `at`; those with a negative row are left out."""
    if at[0] >= 0 and (np.diff(at) == 1).all():
        array[at[0] : at[-1] + 1] = block
    else:
        array[at[at >= 0]] = block[at >= 0]


def _new(source: Source, count: int) -> Images:
    return np.empty((count, *source.shape), source.dtype)


def _create(path: Path, source: Source, count: int) -> Images:
    """Create a mapped .npy file, its space allocated at once: on a full disk a mapped write kills the process."""
    shape = (count, *source.shape)
    with path.open("wb") as file:
        header: dict[str, Any] = {
            "shape": shape,
            "fortran_order": False,
            "descr": np.lib.format.dtype_to_descr(source.dtype),
        }
        np.lib.format.write_array_header_1_0(file, header)
        file.flush()
        os.posix_fallocate(file.fileno(), 0, file.tell() + int(np.prod(shape)) * source.dtype.itemsize)
    images: Images = np.load(path, mmap_mode="r+")
    return images


def _map(path: Path) -> Images:
    """Map the file copy-on-write, because torch refuses read-only arrays; nothing is written."""
    images: Images = np.load(path, mmap_mode="c")
    return images
