"""A version's recorded samples: what is sent to a served model, and what has to come back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np

from trainserve.api import limits
from trainserve.serving.protocol.infer import Arrays
from trainserve.serving.samples.comparison import Comparison, compare
from trainserve.serving.sources.servable import SAMPLES
from trainserve.store import Manifest, arrays

TRUTH = "labels"


@dataclass(frozen=True)
class Recorded:
    """Inputs and the outputs that were recorded for them, one row per sample in every array.

    `batch` is how many rows a request holds at least: 1, or the graph's fixed batch. Where `whole`, nothing is batched,
    and every row is what one request holds, so that first axes may differ and a number may stand alone. `indexes` as
    `verify.compare` takes it, `truth` the samples' true classes where they are known, `reference` whose outputs they
    are (store.Parity); there may be none.
    """

    inputs: Arrays
    outputs: Arrays
    rtol: float
    atol: float
    batch: int = 1
    indexes: Mapping[str, str] = field(default_factory=dict)
    truth: np.ndarray[Any, Any] | None = None
    reference: Literal["pytorch", "script", "none", "given"] = "pytorch"
    whole: bool = False

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
        tensors = (*manifest.inputs, *manifest.outputs)
        batch = max([1, *(tensor.shape[0] for tensor in manifest.inputs if tensor.shape)])
        arrays.check(file, limits.current().bytes("samples"), str(file) if isinstance(file, Path) else SAMPLES)
        with np.load(file, allow_pickle=False) as samples:
            names = [tensor.name for tensor in tensors]
            missing = [name for name in names if name not in samples]
            whole = not missing and all(samples[tensor.name].ndim > len(tensor.shape) for tensor in tensors)
            batch = 1 if whole else batch
            rows = 0 if missing else min(*(_rows(samples[name]) for name in names), max(limit, batch)) // batch * batch
            if not rows:
                why = f"has no {', '.join(missing)}" if missing else f"holds less than one batch of {batch}"
                raise ValueError(f"{file if isinstance(file, Path) else SAMPLES} {why}")
            chosen = {name: samples[name][:rows] for name in names}
            truth = samples[TRUTH][:rows] if TRUTH in samples and TRUTH not in names else None
        return cls(
            {tensor.name: chosen[tensor.name] for tensor in manifest.inputs},
            {tensor.name: chosen[tensor.name] for tensor in manifest.outputs},
            manifest.parity.rtol,
            manifest.parity.atol,
            batch,
            {tensor.name: tensor.indexes for tensor in manifest.outputs if tensor.indexes},
            truth,
            manifest.parity.reference,
            whole,
        )

    @property
    def names(self) -> list[str]:
        """Of the outputs to ask for."""
        return list(self.outputs)

    def compare(self, got: Mapping[str, np.ndarray[Any, Any]], rows: np.ndarray[Any, Any] | None = None) -> Comparison:
        """What was answered to the samples `rows`, by default to each one once, with what was recorded."""
        rows = np.arange(len(self)) if rows is None else rows
        expected = {name: array[rows] for name, array in self.outputs.items()}
        fitted = {name: _fitted(array, expected[name]) if name in expected else array for name, array in got.items()}
        return compare(expected, fitted, self.rtol, self.atol, self.indexes, rows)

    def declared(self, shapes: Mapping[str, Sequence[int]]) -> Recorded:
        """The same with inputs of the ranks that a server declares, where its configuration writes one number for each
        sample, or a number that stands alone, as an axis of 1 (`reshape`)."""
        ranks = {name: len(shape) + self.whole for name, shape in shapes.items()}
        inputs = {
            name: array[..., None] if ranks.get(name) == array.ndim + 1 else array
            for name, array in self.inputs.items()
        }
        return replace(self, inputs=inputs)

    def requests(self, batch: int) -> list[np.ndarray[Any, Any]]:
        """Rows of the requests of `batch` that send every sample once; those of the last begin again at the first."""
        batch = 1 if self.whole else batch
        return [np.arange(start, start + batch) % len(self) for start in range(0, len(self), batch)]

    def sent(self, rows: np.ndarray[Any, Any]) -> Arrays:
        """The inputs of one request."""
        if self.whole:
            return {name: np.asarray(array[rows[0]], array.dtype) for name, array in self.inputs.items()}
        return {name: array[rows] for name, array in self.inputs.items()}

    def joined(self, answers: Sequence[Mapping[str, np.ndarray[Any, Any]]]) -> Arrays:
        """The answers to several requests as `compare` takes them: every output that is in all of them.

        Of answers that have not one shape the odd one stands for all: it is what `compare` has to name.
        """
        found: Arrays = {}
        for name in self.names:
            parts = [answer[name] for answer in answers if name in answer]
            if len(parts) == len(answers):
                found[name] = self._join(name, [part[None] if self.whole else part for part in parts])
        return found

    def _join(self, name: str, parts: list[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
        meant = self.outputs.get(name, parts[0]).shape[1:]
        if len({part.shape[1:] for part in parts}) == 1 and parts[0].ndim:
            return np.concatenate(parts)
        return next((part for part in parts if part.shape[1:] != meant or not part.ndim), parts[0])


def _fitted(got: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The answer without the axis of 1 in which a server gives a number that stands alone."""
    return got.reshape(expected.shape) if got.shape == (*expected.shape, 1) else got


def _rows(array: np.ndarray[Any, Any]) -> int:
    """A number that stands alone has none."""
    return len(array) if array.ndim else 0
