"""Data sets: built in by name, or read from a file or a folder; each is checked before training, its split exact.

This module imports neither numpy nor torch, so that the names are known before either is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainserve.models.config import Dataset as DatasetConfig
    from trainserve.models.data.dataset import Dataset
    from trainserve.models.data.watch import Watch


@dataclass(frozen=True)
class BuiltIn:
    """What a config may ask of a data set that has a name."""

    tasks: tuple[str, ...] = ("classification",)
    options: bool = False


BUILT_IN = {
    "digits": BuiltIn(),
    "fashion-mnist": BuiltIn(),
    "synthetic": BuiltIn(tasks=("classification", "regression"), options=True),
}
DATASETS = tuple(BUILT_IN)


def load(config: DatasetConfig, seed: int, watch: Watch | None = None, folder: Path | None = None) -> Dataset:
    """The data set that the config means, ready to train on; `watch` is told how far fetching and decoding are.

    A relative path is one below `folder`, where the config lies; without it, below the working directory.
    Raises DataError naming the file and what is wrong, UserError naming an option that is.
    """
    from trainserve.models.data import reading

    return reading.load(config, seed, watch, folder or Path())
