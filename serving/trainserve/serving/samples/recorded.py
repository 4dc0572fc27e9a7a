"""Recorded samples of a model: inputs, and the outputs to expect from a server."""

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
    """Inputs and their recorded outputs, with one row per sample in every array.

    `batch` is the minimum number of rows of a request: 1, or the graph's fixed batch. If `whole`, nothing is batched
    and each row is one request, so that first axes may differ and scalars are allowed. `indexes` is that of
    `comparison.compare`; `truth` are the true classes, if known; `reference` is the source of the outputs
    (store.Parity), of which there may be none.
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
        """Number of samples."""
        return min(len(array) for array in (*self.inputs.values(), *self.outputs.values()))

    @classmethod
    def load(cls, version: Path, limit: int) -> Recorded:
        """Load at most `limit` samples from a version's folder, in whole batches. Raises ValueError without any."""
        manifest = Manifest.from_bytes((version / "manifest.json").read_bytes(), version / "manifest.json")
        return cls.of(manifest, version / SAMPLES, limit)

    @classmethod
    def of(cls, manifest: Manifest, file: Path | IO[bytes], limit: int) -> Recorded:
        """Load the samples in `file` (`load`)."""
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
        """Names of the outputs to request."""
        return list(self.outputs)

    def compare(self, got: Mapping[str, np.ndarray[Any, Any]], rows: np.ndarray[Any, Any] | None = None) -> Comparison:
        """Compare the answers to the samples `rows`, by default each once, with the recorded outputs."""
        rows = np.arange(len(self)) if rows is None else rows
        expected = {name: array[rows] for name, array in self.outputs.items()}
        fitted = {name: _fitted(array, expected[name]) if name in expected else array for name, array in got.items()}
        return compare(expected, fitted, self.rtol, self.atol, self.indexes, rows)

    def declared(self, shapes: Mapping[str, Sequence[int]]) -> Recorded:
        """Return the same samples with inputs of the ranks that a server declares.

        Its configuration declares one number per sample, and a scalar, with an axis of 1 (`reshape`).
        """
        ranks = {name: len(shape) + self.whole for name, shape in shapes.items()}
        inputs = {
            name: array[..., None] if ranks.get(name) == array.ndim + 1 else array
            for name, array in self.inputs.items()
        }
        return replace(self, inputs=inputs)

    def requests(self, batch: int) -> list[np.ndarray[Any, Any]]:
        """Return the rows of each request of `batch` samples; the last request is filled up from the first sample."""
        batch = 1 if self.whole else batch
        return [np.arange(start, start + batch) % len(self) for start in range(0, len(self), batch)]

    def sent(self, rows: np.ndarray[Any, Any]) -> Arrays:
        """Return the inputs of one request."""
        if self.whole:
            return {name: np.asarray(array[rows[0]], array.dtype) for name, array in self.inputs.items()}
        return {name: array[rows] for name, array in self.inputs.items()}

    def joined(self, answers: Sequence[Mapping[str, np.ndarray[Any, Any]]]) -> Arrays:
        """Join the answers to several requests for `compare`: every output that all of them have.

        If their shapes differ, the deviating one stands for all, so that `compare` reports it.
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
    """Remove the axis of 1 that a server adds to a scalar."""
    return got.reshape(expected.shape) if got.shape == (*expected.shape, 1) else got


def _rows(array: np.ndarray[Any, Any]) -> int:
    """Return the number of rows; a scalar has none."""
    return len(array) if array.ndim else 0
