"""Data sets: built in by name, or read from a file or folder; checked and split before training.

This module imports neither numpy nor torch, so that the names are available without loading either.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainserve.models.config import Dataset as DatasetConfig
    from trainserve.models.data.dataset import Dataset
    from trainserve.models.data.watch import Watch


def load(config: DatasetConfig, seed: int, watch: Watch | None = None, folder: Path | None = None) -> Dataset:
    """Load the data set of `config`, ready to train on; `watch` receives the progress of fetching and decoding.

    Relative paths are resolved against `folder`, the config's own, by default the working directory.
    Raises DataError naming the file and the problem, UserError naming a wrong option.
    """
    from trainserve.models.data import reading

    return reading.load(config, seed, watch, folder or Path())
