"""A loaded data set, the checks that every data set passes, and the split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trainserve.models.errors import DataError

Images = NDArray[Any]
"""(N, H, W, C), uint8 0..255 or float32, finite."""
Task = Literal["classification", "regression"]
Targets = NDArray[Any]
"""Class numbers (N,) int64, 0..classes-1; in a regression (N, K) float32, finite."""


MEASURED = 1 << 30
"""Most values that statistics are computed from: these take a second or two, a whole large data set an hour."""
_CHUNK = 1 << 21
"""Values converted to float at a time, so that statistics need no second copy of the data."""
_SHOWN = 5
"""Classes that a line names."""


@dataclass(frozen=True)
class Normalisation:
    """The network's input: (images * scale - mean) / std, mean and std per channel."""

    scale: float
    mean: list[float]
    std: list[float]


@dataclass(frozen=True)
class Dataset:
    """Images (N, H, W, C) with their targets. `labels`: names of the classes, or of a regression's K targets.

    `digest`: `sha256:<hex>` of the file or folder that was read, if it was fetched or verified.
    """

    name: str
    train_images: Images
    train_targets: Targets
    test_images: Images
    test_targets: Targets
    labels: list[str]
    task: Task = "classification"
    digest: str | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C) of one image."""
        height, width, channels = self.train_images.shape[1:]
        return height, width, channels

    def normalisation(self) -> Normalisation:
        """Mean 0 and deviation 1 per channel over the training split; uint8 is first scaled to 0..1.

        Of more than MEASURED values, about that many are used, in evenly spaced pieces.
        """
        sums, squares, pixels = np.zeros(self.shape[2]), np.zeros(self.shape[2]), 0
        images = max(1, _CHUNK // self.train_images[0].size)
        pieces = range(0, len(self.train_images), images)
        for start in pieces[:: -(-self.train_images.size // MEASURED)]:
            chunk = self.train_images[start : start + images].astype(np.float64)
            sums += chunk.sum(axis=(0, 1, 2))
            squares += np.square(chunk).sum(axis=(0, 1, 2))
            pixels += chunk.size // self.shape[2]
        mean = sums / pixels
        std = np.sqrt(np.maximum(squares / pixels - np.square(mean), 0))
        scale = 1 / 255 if self.train_images.dtype == np.uint8 else 1.0
        # A constant channel is not scaled, which would divide by 0.
        return Normalisation(scale, (mean * scale).tolist(), np.where(std > 0, std * scale, 1.0).tolist())

    def __str__(self) -> str:
        height, width, channels = self.shape
        outputs = f"{len(self.labels)} {'classes' if self.task == 'classification' else 'target(s)'}"
        return (
            f"{self.name}: {len(self.train_images)} training and {len(self.test_images)} test images of "
            f"{height}x{width}x{channels} {self.train_images.dtype}, {outputs}"
        )


def check(train: Targets, test: Targets, labels: list[str], source: str) -> list[str]:
    """Check that the targets can be trained on; returns notes for the user.

    Raises DataError naming `source` (a file or a built-in name) if they cannot.
    """
    for part, targets in (("training", train), ("test", test)):
        if len(targets) == 0:
            raise DataError(f"{source}: 0 samples in the {part} split; at least 1 is needed")
    if train.dtype.kind == "f":
        return []
    classes = len(labels)
    for targets in (train, test):
        if (outside := targets[(targets < 0) | (targets >= classes)]).size:
            raise DataError(f"{source}: label {outside[0]} is outside 0..{classes - 1}")
    if len(unlearnt := np.setdiff1d(test, train)):
        name = _named(labels, unlearnt[0])
        raise DataError(f"{source}: class {name} is missing from the training split ({classes} classes)")
    occurring = np.unique(train)
    if len(occurring) < 2:
        raise DataError(f"{source}: only class {occurring[0]} occurs; at least 2 classes are needed")
    missing = np.setdiff1d(np.arange(classes), occurring)
    if not len(missing):
        return []
    names = ", ".join(_named(labels, each) for each in missing[:_SHOWN]) + (", ..." if len(missing) > _SHOWN else "")
    return [f"warning: {len(missing)} of {classes} classes have no samples, and will not be recognised: {names}"]


def _named(labels: list[str], number: int) -> str:
    return f"{number}" if labels[number] == str(number) else f"{number} ({labels[number]})"


def split(targets: Targets, test: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the training and test samples, shuffled and stratified: the share `test` of each class, rounded down.

    Depends only on targets, share and seed. Float targets count as one class.
    """
    shuffled = np.random.default_rng(seed).permutation(len(targets))
    classes = targets[shuffled] if targets.dtype.kind != "f" else np.zeros(len(targets), np.int64)
    by_class = np.argsort(classes, kind="stable")
    _, first, count = np.unique(classes[by_class], return_index=True, return_counts=True)
    rank = np.arange(len(targets)) - np.repeat(first, count)
    held_out = np.zeros(len(targets), dtype=bool)
    held_out[by_class] = rank < np.repeat((count * test).astype(np.int64), count)
    return shuffled[~held_out], shuffled[held_out]
