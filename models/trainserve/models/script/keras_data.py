"""Data sets placed where Keras looks for its downloads: Fashion-MNIST, from Debian's package.

Keras's server may not be reachable from a cluster. If the package is not either, Keras tries to download.
"""

from __future__ import annotations

import functools
import gzip
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from trainserve.models.data import fashion
from trainserve.models.data.cache import Cache
from trainserve.models.data.watch import Watch
from trainserve.models.errors import DataError


def prime(keras: ModuleType, watch: Watch) -> None:
    """Wrap `keras.datasets.fashion_mnist.load_data()` so that it finds its files in $KERAS_HOME, which must be set."""
    module = keras.datasets.fashion_mnist
    original: Callable[[], Any] = module.load_data

    @functools.wraps(original)
    def load_data() -> Any:
        try:
            stage(Path(os.environ["KERAS_HOME"]) / "datasets/fashion-mnist", Cache(watch))
        except DataError as error:
            watch.say(f"{error}; Keras will download it itself")
        return original()

    module.load_data = load_data


def stage(folder: Path, cache: Cache) -> None:
    """Write the four files under Keras's names unless they exist. Raises DataError."""
    if all((folder / f"{name}.gz").exists() for name in fashion.FILES):
        return
    folder.mkdir(parents=True, exist_ok=True)
    staged = fashion.files(cache)
    for name in fashion.FILES:
        part = folder / f"{name}.part"
        part.write_bytes(gzip.compress((staged / name).read_bytes(), compresslevel=0))  # read again at once
        part.rename(folder / f"{name}.gz")
