"""A `.npz` file: `x` (N, H, W[, C]) uint8 or float, `y` as the task has it, and optionally `x_test`, `y_test`.

`y` is (N,) integers; of a regression floats, (N,) or (N, K).
"""

from __future__ import annotations

import contextlib
import hashlib
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from trainserve.models.data.arrays import LARGE
from trainserve.models.data.cache import Cache
from trainserve.models.data.dataset import Images, Targets, Task
from trainserve.models.data.source import Part, Source, block_length, release
from trainserve.models.errors import DataError

_NAMES = ("x", "y", "x_test", "y_test")
Arrays = Mapping[str, NDArray[Any]]


def source(path: Path, name: str, task: Task, digest: str, cache: Cache) -> Source:
    """Check the file's arrays; when they are large they are unpacked into the cache, under `digest`.

    Raises DataError naming the file and what is wrong; nothing in it is ever unpickled.
    """
    arrays = _unpacked(path, digest, cache) if _bytes(path) > LARGE else _read(path)
    for needed in ("x", "y"):
        if needed not in arrays:
            raise DataError(f"{path}: array {needed!r} is missing; there are: {', '.join(sorted(arrays)) or 'none'}")
    if ("x_test" in arrays) != ("y_test" in arrays):
        raise DataError(f"{path}: x_test and y_test belong together; there are: {', '.join(sorted(arrays))}")
    train = _part(path, arrays, "x", "y", task)
    test = _part(path, arrays, "x_test", "y_test", task) if "x_test" in arrays else None
    if test is not None:
        _same_kind(path, arrays, test.targets, train.targets)
    x = arrays["x"]
    height, width, channels = (*x.shape[1:], 1)[:3]
    return Source(
        name=name,
        file=str(path),
        shape=(height, width, channels),
        dtype=_dtype(x),
        labels=_labels(path, train.targets, None if test is None else test.targets, task),
        task=task,
        train=train,
        test=test,
        digest=hashlib.sha256(f"npz 1 {digest}".encode()).hexdigest(),
    )


def _bytes(path: Path) -> int:
    """Of the arrays, uncompressed."""
    with _errors(path), path.open("rb") as file:
        if not zipfile.is_zipfile(file):
            raise DataError(f"{path}: truncated, or not an .npz file")
        with zipfile.ZipFile(file) as content:
            return sum(info.file_size for info in content.infolist())


def _read(path: Path) -> Arrays:
    with _errors(path), path.open("rb") as file, np.load(file, allow_pickle=False) as content:
        return {name: content[name] for name in content.files if name in _NAMES}


def _unpacked(path: Path, digest: str, cache: Cache) -> Arrays:
    """Mapped: what is in the file are .npy files, which need only be copied out."""

    def make(room: Path) -> None:
        with zipfile.ZipFile(path) as content:
            members = [info for info in content.infolist() if info.filename.removesuffix(".npy") in _NAMES]
            with cache.watch.task(f"unpacking {path.name}", sum(info.file_size for info in members), "bytes") as moved:
                for info in members:
                    with _errors(path):
                        member = content.open(info)
                    with member, (room / info.filename).open("xb") as file:
                        while chunk := _chunk(path, member):
                            file.write(chunk)
                            moved(len(chunk))
        _arrays(path, room)

    return _arrays(path, cache.get(f"unpacked-{digest}", make))


def _chunk(path: Path, member: IO[bytes]) -> bytes:
    with _errors(path):
        return member.read(1 << 20)


def _arrays(path: Path, folder: Path) -> Arrays:
    with _errors(path):
        return {file.stem: np.load(file, mmap_mode="c", allow_pickle=False) for file in folder.iterdir()}


@contextlib.contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None
    except Exception as error:
        # Damaged bytes make zipfile, zlib and numpy raise nearly anything (found by flipping bits).
        raise DataError(f"{path}: cannot be read: {error or type(error).__name__}") from None


def _part(path: Path, arrays: Arrays, x: str, y: str, task: Task) -> Part:
    images, targets = arrays[x], arrays[y]
    if images.ndim not in (3, 4) or 0 in images.shape[1:]:
        raise DataError(f"{path}: {x} has shape {images.shape}; must be (N, H, W) or (N, H, W, C)")
    if images.dtype != np.uint8 and images.dtype.kind != "f":
        raise DataError(f"{path}: {x} is {images.dtype}; must be uint8 or float")
    checked = _classes(path, targets, y) if task == "classification" else _values(path, targets, y)
    if len(images) != len(targets):
        raise DataError(f"{path}: {x} has {len(images)} samples and {y} has {len(targets)}; must be equal")
    if len(images) == 0:
        raise DataError(f"{path}: 0 samples in {x}; at least 1 is needed")
    return Part(checked, lambda: _blocks(path, x, images if images.ndim == 4 else images[..., None]))


def _blocks(path: Path, x: str, images: NDArray[Any]) -> Iterator[Images]:
    dtype = _dtype(images)
    step = block_length(images.shape[1:], dtype)
    for start in range(0, len(images), step):
        with np.errstate(over="ignore"):
            block = images[start : start + step].astype(dtype, copy=False)
        if dtype.kind == "f" and not (finite := np.isfinite(block).all(axis=(1, 2, 3))).all():
            sample = start + int(finite.argmin())
            raise DataError(f"{path}: {x} holds values that are not finite numbers, the first in sample {sample}")
        yield block
        release(images)


def _dtype(images: NDArray[Any]) -> np.dtype[Any]:
    return np.dtype(np.uint8 if images.dtype == np.uint8 else np.float32)


def _classes(path: Path, targets: NDArray[Any], y: str) -> Targets:
    if targets.ndim != 1:
        raise DataError(f"{path}: {y} has shape {targets.shape}; must be (N,)")
    if targets.dtype.kind not in "iu":
        raise DataError(f"{path}: {y} is {targets.dtype}; must be integers")
    if len(targets) and targets.min() < 0:
        raise DataError(f"{path}: {y}: label {targets.min()} is negative; must be 0 or more")
    return targets.astype(np.int64)


def _values(path: Path, targets: NDArray[Any], y: str) -> Targets:
    if targets.ndim not in (1, 2) or 0 in targets.shape[1:]:
        raise DataError(f"{path}: {y} has shape {targets.shape}; must be (N,) or (N, K) in a regression")
    if targets.dtype.kind != "f":
        raise DataError(f"{path}: {y} is {targets.dtype}; must be floats in a regression")
    with np.errstate(over="ignore"):
        values = targets.astype(np.float32).reshape(len(targets), -1)
    if not (finite := np.isfinite(values).all(axis=1)).all():
        raise DataError(f"{path}: {y} holds values that are not finite numbers, the first in sample {finite.argmin()}")
    return values


def _labels(path: Path, train: Targets, test: Targets | None, task: Task) -> list[str]:
    if task == "regression":
        return [str(number) for number in range(train.shape[1])]
    highest = max(int(part.max()) for part in (train, test) if part is not None)
    if highest >= len(train):
        raise DataError(f"{path}: y: label {highest} is outside 0..{len(train) - 1} (one class per sample)")
    return [str(number) for number in range(highest + 1)]


def _same_kind(path: Path, arrays: Arrays, test: Targets, train: Targets) -> None:
    kinds = [f"{_dtype(arrays[x])} of {(*arrays[x].shape[1:], 1)[:3]}" for x in ("x_test", "x")]
    if kinds[0] != kinds[1]:
        raise DataError(f"{path}: x_test is {kinds[0]} and x is {kinds[1]}; must be equal")
    if test.shape[1:] != train.shape[1:]:
        raise DataError(f"{path}: y_test has {test.shape[1]} values a sample and y has {train.shape[1]}; must be equal")
