"""Data sets: built in by name, or read from a file or folder; checked and split before training.

This module imports neither numpy nor torch, so that the names are available without loading either.
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
    """A data set that is selected by name: the tasks it supports and whether it takes options."""

    tasks: tuple[str, ...] = ("classification",)
    options: bool = False


BUILT_IN = {
    "digits": BuiltIn(),
    "fashion-mnist": BuiltIn(),
    "synthetic": BuiltIn(tasks=("classification", "regression"), options=True),
}
DATASETS = tuple(BUILT_IN)


def load(config: DatasetConfig, seed: int, watch: Watch | None = None, folder: Path | None = None) -> Dataset:
    """Load the data set of `config`, ready to train on; `watch` receives the progress of fetching and decoding.

    Relative paths are resolved against `folder`, the config's own, by default the working directory.
    Raises DataError naming the file and the problem, UserError naming a wrong option.
    """
    from trainserve.models.data import reading

    return reading.load(config, seed, watch, folder or Path())
