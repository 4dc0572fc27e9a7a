"""Data sets: built in by name, or a file. Each gives images, labels and a deterministic split, checked before training.

This module imports neither numpy nor torch, so that the names are known before either is loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainserve.models.config import Dataset as DatasetConfig
    from trainserve.models.data.dataset import Dataset

DATASETS = ("digits",)


def load(config: DatasetConfig, seed: int) -> Dataset:
    """The data set that the config means, ready to train on. Raises DataError naming the file and what is wrong."""
    if config.path is not None:
        from trainserve.models.data import npz

        return npz.load(config.path, config.split.test, seed)
    from trainserve.models.data import digits

    return digits.load(config.split.test, seed)
