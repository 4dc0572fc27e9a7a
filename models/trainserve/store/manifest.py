"""manifest.json: the description of a version, written once, camelCase with sorted keys; see docs/contracts.md."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.alias_generators import to_camel

from trainserve.api.refusal import problems_of
from trainserve.store import names
from trainserve.store.errors import StoreError, VersionMismatch


class _Part(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", protected_namespaces=())


class FileEntry(_Part):
    """A file of the version."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)


class Tensor(_Part):
    """An input or output of the graph. `dtype`: numpy's name; `shape`: -1 is the batch axis.

    `indexes`: the output along whose last axis this output's values are positions, largest value first.
    """

    name: str
    dtype: str
    shape: list[int]
    indexes: str | None = None


class Preprocessing(_Part):
    """Preprocessing of raw images: (x * scale - mean) / std, mean and std per channel.

    `by`: the graph, which takes images, or the client, if the graph takes the finished tensor.
    """

    scale: float
    mean: list[float]
    std: list[float]
    by: Literal["graph", "client"] = "graph"


class Metrics(_Part):
    """Scores on the test split: accuracy in 0..1 and mean cross entropy. Null if not measured.

    Of the trained network in PyTorch, and of the exported file in onnxruntime (always for fp16 and int8).
    """

    accuracy: float | None
    loss: float | None
    exported_accuracy: float | None = None
    exported_loss: float | None = None


class Parity(_Part):
    """Largest differences between onnxruntime and PyTorch, the tolerances, and the number of samples.

    `reference`: whose outputs samples.npz holds: PyTorch's; a script's, recorded beside the file that it wrote; or
    none: then inputs are random, outputs onnxruntime's own, and the differences null.
    """

    max_abs: float | None
    max_rel: float | None
    rtol: float
    atol: float
    samples: int
    reference: Literal["pytorch", "script", "none"] = "pytorch"


class Batching(_Part):
    """Whether requests may be joined along the graph's first axis, and why; from trainserve.batching."""

    axis: Literal["first", "none"]
    reason: str


class Energy(_Part):
    """Energy of the training in joules; null without a counter, then `reason` says why.

    `joules`: of the GPUs' boards (nvml) or, without a GPU, of the machine's processors (rapl); `cpu_joules`: always the
    latter, for everything on the machine. Emissions are of `joules`.
    """

    joules: float | None = None
    source: Literal["nvml", "rapl", "none"] = "none"
    reason: str | None = None
    joules_per_epoch: float | None = None
    joules_per_image: float | None = None
    cpu_joules: float | None = None
    grams_co2e: float | None = Field(None, alias="gramsCO2e")


_Column = Annotated[list[float | None], Field(min_length=1, max_length=500)]


class Curves(_Part):
    """Training curves, columns with one value per point: at most 500, always with the first and the last.

    Loss and accuracy are means over the current epoch so far, `validation` ones the script's at its end; `seconds`: of
    training, over all attempts; `samples_per_second`: since the previous point. A column is null if unknown, `step` if
    a script reports epochs only.
    """

    epoch: list[int] = Field(min_length=1, max_length=500)
    step: list[int] | None = None
    seconds: list[float]
    loss: _Column | None = None
    accuracy: _Column | None = None
    validation_loss: _Column | None = None
    validation_accuracy: _Column | None = None
    learning_rate: _Column | None = None
    samples_per_second: _Column | None = None

    @model_validator(mode="after")
    def _as_many_in_each(self) -> Self:
        for name in type(self).model_fields:
            column = getattr(self, name)
            if column is not None and len(column) != len(self.epoch):
                raise ValueError(f"{to_camel(name)}: {len(column)} values; must be {len(self.epoch)}, as epoch has")
        return self


class TrainJobRef(_Part):
    """The run that made the version. Publishing is idempotent per uid; a run outside of a cluster has none."""

    name: str
    uid: str | None = None
    attempt: int = 1


class ManifestDraft(_Part):
    """A manifest before the version has a number."""

    opset: int
    ir_version: int
    precision: Literal["fp32", "fp16", "int8"] = "fp32"
    inputs: list[Tensor]
    outputs: list[Tensor]
    labels: list[str]
    preprocessing: Preprocessing
    metrics: Metrics
    parity: Parity
    energy: Energy = Field(default_factory=Energy)
    curves: Curves | None = None
    """None if the training reported no progress, and in manifests of earlier releases."""
    batching: Batching | None = None
    """None if not determined, and in manifests of earlier releases."""
    train_job: TrainJobRef
    spec: dict[str, Any]


class Manifest(ManifestDraft):
    """The manifest of a published version."""

    format_version: Literal[1] = 1
    namespace: str
    model: str
    version: int = Field(ge=1)
    created: str = Field(description="RFC 3339, UTC.")
    files: dict[str, FileEntry]

    @field_validator("files")
    @classmethod
    def _plain_file_names(cls, files: dict[str, FileEntry]) -> dict[str, FileEntry]:
        for name in files:
            try:
                names.file(name)
            except StoreError as error:
                raise ValueError(str(error)) from None
        return files

    def expect(self, namespace: str, model: str, version: int, path: object) -> None:
        """Raise VersionMismatch naming `path` if this is the manifest of another version."""
        found, asked = f"{self.namespace}/{self.model}/{self.version}", f"{namespace}/{model}/{version}"
        if found != asked:
            raise VersionMismatch(f"{path}: the manifest of {found}, not of {asked}")

    def to_bytes(self) -> bytes:
        """Return the bytes of manifest.json. Fields that earlier releases would refuse are omitted if None."""
        unknown = {name for name in ("curves", "batching") if getattr(self, name) is None}
        # Through pydantic's JSON, which writes NaN and infinities as null.
        content = json.loads(self.model_dump_json(by_alias=True, exclude=unknown))
        return json.dumps(content, sort_keys=True, indent=1, allow_nan=False).encode() + b"\n"

    @classmethod
    def from_bytes(cls, content: bytes, path: object) -> Manifest:
        """Parse a manifest. Raises StoreError naming `path` if this release cannot read it."""
        try:
            return cls.model_validate_json(content)
        except ValidationError as error:
            raise StoreError(f"{path}: not a manifest: {problems_of(error, cls)[0]}") from None


def digest(content: bytes) -> str:
    """Return a version's digest, `sha256:<hex>` of its manifest.json, `content`."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
