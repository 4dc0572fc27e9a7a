"""`digits`: the 1797 real handwritten digits, 8x8, that scikit-learn carries, upsampled to 28x28 (bilinear).

Source: UCI's Optical Recognition of Handwritten Digits, as in `sklearn.datasets.load_digits`; values 0..16.
"""

from __future__ import annotations

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainserve.models.data.source import Source, in_memory
from trainserve.models.errors import DataError


def source() -> Source:
    """The images (N, 28, 28, 1) uint8. Raises DataError if scikit-learn is not installed."""
    # Reading scikit-learn's file takes 0.05 s, importing sklearn to read it 1.2 s.
    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise DataError("digits: scikit-learn, which carries these images, is not installed")
    path = Path(package.origin).parent / "datasets/data/digits.csv.gz"
    with gzip.open(path, "rt") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.float32)
    small, labels = table[:, :64].reshape(-1, 8, 8), table[:, 64].astype(np.int64)
    weights = bilinear(8, 28)
    images = np.rint(weights @ small @ weights.T * (255 / 16)).astype(np.uint8)[..., None]
    names = [str(digit) for digit in range(10)]
    part = in_memory(labels, images)
    return Source("digits", "digits", (28, 28, 1), images.dtype, names, "classification", part, None, "digits")


def bilinear(size: int, larger: int) -> NDArray[np.float32]:
    """Bilinear weights (larger, size) that stretch a line of pixels: centres at half integers, edges repeated."""
    centres = (np.arange(larger) + 0.5) * size / larger - 0.5
    centres = centres.clip(0, size - 1)
    left = np.floor(centres).astype(int).clip(0, size - 2)
    share = centres - left
    weights = np.zeros((larger, size), dtype=np.float32)
    weights[np.arange(larger), left] = 1 - share
    weights[np.arange(larger), left + 1] = share
    return weights
