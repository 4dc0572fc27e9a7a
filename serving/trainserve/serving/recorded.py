"""A version's recorded samples: what is sent to a served model, and what has to come back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np

from trainserve.serving.servable import SAMPLES
from trainserve.serving.verify import Comparison, compare
from trainserve.store import Manifest

Arrays = dict[str, np.ndarray[Any, Any]]
TRUTH = "labels"


@dataclass(frozen=True)
class Recorded:
    """Inputs and the outputs that were recorded for them, one row per sample in every array.

    `batch` is how many rows a request holds at least: 1, or the graph's fixed batch. `indexes` as `verify.compare`
    takes it, `truth` the samples' true classes where they are known, `reference` whose outputs they are
    (store.Parity).
    """

    inputs: Arrays
    outputs: Arrays
    rtol: float
    atol: float
    batch: int = 1
    indexes: Mapping[str, str] = field(default_factory=dict)
    truth: np.ndarray[Any, Any] | None = None
    reference: Literal["pytorch", "script", "none"] = "pytorch"

    def __len__(self) -> int:
        """How many samples there are."""
        return min(len(array) for array in (*self.inputs.values(), *self.outputs.values()))

    @classmethod
    def load(cls, version: Path, limit: int) -> Recorded:
        """At most `limit` samples, in whole batches, of a version's folder. Raises ValueError if there are none."""
        manifest = Manifest.from_bytes((version / "manifest.json").read_bytes(), version / "manifest.json")
        return cls.of(manifest, version / SAMPLES, limit)

    @classmethod
    def of(cls, manifest: Manifest, file: Path | IO[bytes], limit: int) -> Recorded:
        """As `load`, of the samples in `file`."""
        batch = max(1, manifest.inputs[0].shape[0])
        with np.load(file, allow_pickle=False) as samples:
            names = [tensor.name for tensor in (*manifest.inputs, *manifest.outputs)]
            missing = [name for name in names if name not in samples]
            rows = 0 if missing else min(*(len(samples[name]) for name in names), max(limit, batch)) // batch * batch
            if not rows:
                why = f"has no {', '.join(missing)}" if missing else f"holds less than one batch of {batch}"
                raise ValueError(f"{file if isinstance(file, Path) else SAMPLES} {why}")
            arrays = {name: samples[name][:rows] for name in names}
            truth = samples[TRUTH][:rows] if TRUTH in samples and TRUTH not in names else None
        return cls(
            {tensor.name: arrays[tensor.name] for tensor in manifest.inputs},
            {tensor.name: arrays[tensor.name] for tensor in manifest.outputs},
            manifest.parity.rtol,
            manifest.parity.atol,
            batch,
            {tensor.name: tensor.indexes for tensor in manifest.outputs if tensor.indexes},
            truth,
            manifest.parity.reference,
        )

    @property
    def names(self) -> list[str]:
        """Of the outputs to ask for."""
        return list(self.outputs)

    def compare(self, got: Mapping[str, np.ndarray[Any, Any]], rows: np.ndarray[Any, Any] | None = None) -> Comparison:
        """What was answered to the samples `rows`, by default to each one once, with what was recorded."""
        rows = np.arange(len(self)) if rows is None else rows
        expected = {name: array[rows] for name, array in self.outputs.items()}
        return compare(expected, got, self.rtol, self.atol, self.indexes, rows)

    def requests(self, batch: int) -> list[np.ndarray[Any, Any]]:
        """Rows of the requests of `batch` that send every sample once; those of the last begin again at the first."""
        return [np.arange(start, start + batch) % len(self) for start in range(0, len(self), batch)]

    def sent(self, rows: np.ndarray[Any, Any]) -> Arrays:
        """The inputs of one request."""
        return {name: array[rows] for name, array in self.inputs.items()}
