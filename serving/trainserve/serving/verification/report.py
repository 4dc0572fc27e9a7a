"""The report of a verification; the CLI shows it as a table or as JSON."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pydantic.alias_generators import to_camel


class Kind(StrEnum):
    """Kinds of faults."""

    ALTERED_FILE = "AlteredFile"
    """A file of MODEL is not the published one, or is not signed by the key."""
    NOT_SERVED = "NotServed"
    """No server answers at the address, or it has not loaded the model."""
    HALF_LOADED_ENSEMBLE = "HalfLoadedEnsemble"
    """A step of the ensemble is not loaded, or does not answer."""
    WRONG_ENSEMBLE = "WrongEnsemble"
    """The model's answers are right, those of the ensemble around it are not."""
    WRONG_VERSION = "WrongVersion"
    """The server serves another version or another model under the name."""
    SWAPPED_LABELS = "SwappedLabels"
    """The classes' labels are not those of the version."""
    WRONG_NORMALISATION = "WrongNormalisation"
    """The right network gets its input shifted, scaled or with reversed channels."""
    PRECISION_DRIFT = "PrecisionDrift"
    """The right network is computed with lower precision than the tolerance allows."""
    MIXED_BATCHES = "MixedBatches"
    """Answers are right alone, and wrong in a batch or among concurrent requests."""
    CHANGING_ANSWERS = "ChangingAnswers"
    """Answers to the same request differ: by chance, or because of a state."""
    TAMPERED_WEIGHTS = "TamperedWeights"
    """The server's weights are not those of the version; nothing else explains the answers."""
    VERSION_AT_FAULT = "VersionAtFault"
    """The version's own file does not give its recorded outputs."""
    INFERENCE_FAILED = "InferenceFailed"
    """The server answered with an error."""


@dataclass(frozen=True)
class Fault:
    """The most likely fault, with its evidence."""

    kind: Kind
    message: str
    evidence: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Worst:
    """The sample furthest outside of the tolerance, or nearest to it.

    `sample` is its row in samples.npz, `position` the flat index of the largest difference, which is infinite between
    texts.
    """

    sample: int
    output: str
    position: int
    difference: float
    expected: list[Any]
    got: list[Any]


@dataclass(frozen=True)
class Run:
    """All samples, sent in one way. Latencies are those of whole requests, as seen by this client."""

    protocol: str
    batch: int
    concurrency: int
    requests: int
    matches: bool
    message: str
    max_abs: float | None = None
    max_rel: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    worst: Worst | None = None


@dataclass(frozen=True)
class WrongLabel:
    """A wrong label of class `index`."""

    index: int
    expected: str
    got: str


@dataclass(frozen=True)
class Labels:
    """Comparison of the server's labels and classes with the recorded ones.

    `same` counts the samples with the same most probable class; None, like `samples`, for a regression. The accuracies
    are shares of samples whose most probable class is the true one; None if the true classes are not recorded.
    """

    matches: bool
    classes: int
    wrong: list[WrongLabel]
    same: int | None = None
    samples: int | None = None
    served_accuracy: float | None = None
    recorded_accuracy: float | None = None


@dataclass(frozen=True)
class Files:
    """The check of MODEL's files, and the key that signed them."""

    matches: bool
    message: str
    files: int = 0
    bytes: int = 0
    signed_by: str | None = None


@dataclass(frozen=True)
class Report:
    """One verification. Without a server, `runs` is empty and `server` is None.

    `ensemble_runs` are through the ensemble around a model whose own answers are right; there may be none.
    """

    verified: bool
    model: str
    version: int | None
    digest: str
    served_as: str | None = None
    files: Files | None = None
    server: str | None = None
    url: str | None = None
    grpc_url: str | None = None
    served_digest: str | None = None
    reference: str | None = None
    samples: int = 0
    rtol: float | None = None
    atol: float | None = None
    runs: list[Run] = field(default_factory=list)
    labels: Labels | None = None
    ensemble_runs: list[Run] = field(default_factory=list)
    fault: Fault | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def worst(self) -> Worst | None:
        """The worst sample of the mismatching runs, or if all match, of all runs."""
        found = [run for run in self.runs if run.worst]
        wrong = [run for run in found if not run.matches] or found
        return max(wrong, key=lambda run: run.max_abs or 0.0).worst if wrong else None

    def as_json(self) -> dict[str, Any]:
        """Return JSON in camelCase, with null for unmeasured and infinite values, and the rows of one worst sample."""
        found: dict[str, Any] = _plain(self)
        for run in found["runs"]:
            if run["worst"]:
                del run["worst"]["expected"], run["worst"]["got"]
        return found | {"worst": _plain(self.worst)}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
        return {to_camel(name): _plain(getattr(value, name)) for name in names}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, StrEnum) else value
