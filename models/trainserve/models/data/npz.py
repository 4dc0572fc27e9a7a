"""A `.npz` file: `x` (N, H, W[, C]) uint8 or float, `y` (N,) integers, and optionally `x_test`, `y_test`."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainserve.models.data.dataset import Dataset, Images, Targets, checked, split
from trainserve.models.errors import DataError


def load(path: str, test: float, seed: int) -> Dataset:
    """Read and check the file. Raises DataError naming it and what is wrong; nothing in it is ever unpickled."""
    arrays = _read(path)
    for name in ("x", "y"):
        if name not in arrays:
            raise DataError(f"{path}: array {name!r} is missing; there are: {', '.join(sorted(arrays)) or 'none'}")
    if ("x_test" in arrays) != ("y_test" in arrays):
        raise DataError(f"{path}: x_test and y_test belong together; there are: {', '.join(sorted(arrays))}")
    images, labels = _pair(path, arrays, "x", "y")
    if "x_test" in arrays:
        test_images, test_targets = _pair(path, arrays, "x_test", "y_test")
        _same_kind(path, images, test_images)
    else:
        train, held_out = split(labels, test, seed)
        images, labels, test_images, test_targets = images[train], labels[train], images[held_out], labels[held_out]
    highest = max(map(int, (*labels.max(initial=-1, keepdims=True), *test_targets.max(initial=-1, keepdims=True))))
    if highest >= max(len(arrays["y"]), 1):
        raise DataError(
            f"{path}: y: label {highest} is outside 0..{max(len(arrays['y']) - 1, 0)} (one class per sample)"
        )
    names = [str(number) for number in range(highest + 1)]
    return checked(Dataset(Path(path).stem, images, labels, test_images, test_targets, names), path)


def _read(path: str) -> dict[str, NDArray[Any]]:
    try:
        with Path(path).open("rb") as file:
            if not zipfile.is_zipfile(file):
                raise DataError(f"{path}: truncated, or not an .npz file")
            file.seek(0)
            with np.load(file, allow_pickle=False) as content:
                return {name: content[name] for name in content.files if name in ("x", "y", "x_test", "y_test")}
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None
    except Exception as error:
        # Damaged bytes make zipfile, zlib and numpy raise nearly anything (found by flipping bits).
        raise DataError(f"{path}: cannot be read: {error or type(error).__name__}") from None


def _pair(path: str, arrays: dict[str, NDArray[Any]], x: str, y: str) -> tuple[Images, Targets]:
    images, labels = arrays[x], arrays[y]
    if images.ndim not in (3, 4) or 0 in images.shape[1:]:
        raise DataError(f"{path}: {x} has shape {images.shape}; must be (N, H, W) or (N, H, W, C)")
    if images.dtype != np.uint8 and images.dtype.kind != "f":
        raise DataError(f"{path}: {x} is {images.dtype}; must be uint8 or float")
    if labels.ndim != 1:
        raise DataError(f"{path}: {y} has shape {labels.shape}; must be (N,)")
    if labels.dtype.kind not in "iu":
        raise DataError(f"{path}: {y} is {labels.dtype}; must be integers")
    if len(images) != len(labels):
        raise DataError(f"{path}: {x} has {len(images)} samples and {y} has {len(labels)}; must be equal")
    if len(images) == 0:
        raise DataError(f"{path}: 0 samples in {x}; at least 1 is needed")
    if labels.min() < 0:
        raise DataError(f"{path}: {y}: label {labels.min()} is negative; must be 0 or more")
    if images.dtype.kind == "f":
        with np.errstate(over="ignore"):
            images = images.astype(np.float32)
        if not np.isfinite(images).all():
            raise DataError(f"{path}: {x} holds values that are not finite numbers")
    return images if images.ndim == 4 else images[..., None], labels.astype(np.int64)


def _same_kind(path: str, train: Images, test: Images) -> None:
    if (train.shape[1:], train.dtype) != (test.shape[1:], test.dtype):
        raise DataError(
            f"{path}: x_test is {test.dtype} of {test.shape[1:]} and x is {train.dtype} of {train.shape[1:]}; "
            "must be equal"
        )
