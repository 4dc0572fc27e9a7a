"""What a verification found, as one record: for people a table is made of it, for machines JSON."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pydantic.alias_generators import to_camel


class Kind(StrEnum):
    """The faults that are told apart."""

    ALTERED_FILE = "AlteredFile"
    """A file of MODEL is not the one that was published, or its signature is not the key's."""
    NOT_SERVED = "NotServed"
    """Nothing answers at the address, or the server has not loaded the model."""
    HALF_LOADED_ENSEMBLE = "HalfLoadedEnsemble"
    """A step that the model needs is not loaded, or does not answer."""
    WRONG_ENSEMBLE = "WrongEnsemble"
    """The model is right, and the ensemble around it answers with something else."""
    WRONG_VERSION = "WrongVersion"
    """Another version, or another model, is served under the name."""
    SWAPPED_LABELS = "SwappedLabels"
    """The classes' labels are not those of the version."""
    WRONG_NORMALISATION = "WrongNormalisation"
    """The right network, which sees its input shifted, scaled or with its channels reversed."""
    PRECISION_DRIFT = "PrecisionDrift"
    """The right network, computed in fewer bits than the tolerance allows."""
    MIXED_BATCHES = "MixedBatches"
    """Right when a request is alone, wrong in a batch or among others."""
    CHANGING_ANSWERS = "ChangingAnswers"
    """The same asked twice is answered differently: by chance, or out of a state."""
    TAMPERED_WEIGHTS = "TamperedWeights"
    """The server's weights are not those of the version, and nothing gentler explains the answers."""
    VERSION_AT_FAULT = "VersionAtFault"
    """The served file is the version's own, and does not give what was recorded with it."""
    INFERENCE_FAILED = "InferenceFailed"
    """The server answered with an error."""


@dataclass(frozen=True)
class Fault:
    """The likeliest fault, in words, with what it was concluded from."""

    kind: Kind
    message: str
    evidence: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Worst:
    """The sample furthest outside the tolerance, or nearest to it: its row in samples.npz, where in it (flat) the
    largest difference is, and both rows. Between two texts the difference is no number."""

    sample: int
    output: str
    position: int
    difference: float
    expected: list[Any]
    got: list[Any]


@dataclass(frozen=True)
class Run:
    """All samples through the server in one way. Latencies are of whole requests, as this client saw them."""

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
    """What the server calls class `index`."""

    index: int
    expected: str
    got: str


@dataclass(frozen=True)
class Labels:
    """Names of the classes by the server's own labels, and how often the likeliest class is the recorded one.

    `same` and `samples` are None of a regression. `served_accuracy` and `recorded_accuracy` are shares of samples whose
    likeliest class is the true one; None where the truth was not recorded.
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
    """The bytes of MODEL on this side: what they were checked against, and by whom they are signed."""

    matches: bool
    message: str
    files: int = 0
    bytes: int = 0
    signed_by: str | None = None


@dataclass(frozen=True)
class Report:
    """One verification. Without a server `runs` is empty and `server` None.

    `ensemble_runs` are those through the ensemble around a model that itself is right; there may be none.
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
        """Of all `runs`: the first that does not match, else the one with the largest difference."""
        found = [run for run in self.runs if run.worst]
        wrong = [run for run in found if not run.matches] or found
        return max(wrong, key=lambda run: run.max_abs or 0.0).worst if wrong else None

    def as_json(self) -> dict[str, Any]:
        """camelCase, null for what was not measured and for differences that are no number; one worst sample whole."""
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
