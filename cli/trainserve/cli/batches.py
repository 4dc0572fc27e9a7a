"""Grouping of the rows of files into the batches of requests. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from trainserve.cli.inputs import Loaded
from trainserve.client import Array


@dataclass
class Batch:
    """Rows of one or several files: `rows` as (file, row number), and `parts`, their arrays by input name."""

    rows: list[tuple[str, int]] = field(default_factory=list)
    parts: list[dict[str, Array]] = field(default_factory=list)

    @property
    def inputs(self) -> dict[str, Array]:
        """All rows of each input, concatenated."""
        return {name: np.concatenate([part[name] for part in self.parts]) for name in self.parts[0]}

    def takes(self, part: dict[str, Array]) -> bool:
        """Whether `part` fits: a model may take images of any size, but all images of one batch have the same size."""
        return not self.parts or all(part[name].shape[1:] == array.shape[1:] for name, array in self.parts[0].items())


def gather(files: Iterable[tuple[str, Loaded]], size: int | None) -> Iterator[Batch]:
    """Yield batches of at most `size` rows, in the order of `files`.

    With `size` None, each file is a batch of its own: the model would mix its rows with those of other files.
    """
    if size is None:
        for name, loaded in files:
            yield Batch([(name, row) for row in range(len(loaded))], [loaded.inputs])
        return
    batch = Batch()
    for name, loaded in files:
        start = 0
        while start < len(loaded):
            if len(batch.rows) == size or not batch.takes(loaded.inputs):
                yield batch
                batch = Batch()
            stop = min(len(loaded), start + size - len(batch.rows))
            batch.parts.append({key: array[start:stop] for key, array in loaded.inputs.items()})
            batch.rows += [(name, row) for row in range(start, stop)]
            start = stop
    if batch.rows:
        yield batch
