"""TrainJob: train a model once, export it to ONNX, check it and publish it as the next version in the model store."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, computed_field

from trainserve.api.base import (
    MAX_COUNT,
    ApiType,
    Conditions,
    Digest,
    Figure,
    ModelName,
    Resources,
    Rule,
    StatusType,
    Timestamp,
    exactly_one_of,
    requires,
    stays_inside,
)

NAME_LIMIT = 52
"""Longest name of a TrainJob: its pods are named <job>-<attempt>-<rank>, and a pod's host name has 63 characters."""


class ModelSource(ApiType):
    """What is trained: a model of the zoo, or the user's own code. Exactly one of name, script and command."""

    name: str | None = Field(
        None, min_length=1, max_length=128, description="A zoo name such as convnet, or timm/<name>."
    )
    options: dict[str, Any] | None = Field(None, description="Arguments of the zoo model.")
    script: str | None = Field(
        None, min_length=1, description="The user's own script, run instead of the zoo's trainer."
    )
    image: str | None = Field(
        None, min_length=1, description="Container image of the user's own code. Unset: the operator's trainer image."
    )
    command: list[str] | None = Field(
        None, min_length=1, description="The user's own command, run as it is, without a shell."
    )

    rules = (
        exactly_one_of("name", "script", "command"),
        requires("options", "name"),
        requires("image", "script", "command"),
    )


class Split(ApiType):
    """How samples are divided when the data set brings no test part of its own."""

    test: float = Field(0.2, gt=0, lt=1, description="Share of the samples held out for evaluation.")


class Dataset(ApiType):
    """Where the samples come from. Exactly one of name and uri."""

    name: str | None = Field(None, min_length=1, max_length=128, description="A built-in data set, such as digits.")
    uri: str | None = Field(
        None,
        pattern=r"^(pvc|s3|https)://[^/\s]+/\S+$",
        max_length=1024,
        description="pvc://<claim>/<path>, s3://<bucket>/<path> or https://<host>/<path>.",
    )
    split: Split | None = Field(None, description="Unset: the data set's own test part, else a fifth of its samples.")

    rules = (exactly_one_of("name", "uri"), stays_inside("uri"))


class Trainer(ApiType):
    """Hyperparameters of the training loop."""

    epochs: int = Field(5, ge=1, le=100_000, description="Passes over the training samples.")
    batch_size: int = Field(64, ge=1, le=1_048_576, description="Samples per optimizer step, over all processes.")
    optimizer: Literal["adam", "adamw", "sgd"] = Field("adam", description="Update rule.")
    learning_rate: float = Field(0.001, gt=0, le=10, description="Step size of the optimizer.")
    precision: Literal["auto", "fp32", "tf32", "bf16"] = Field("auto", description="Arithmetic of the training step.")
    seed: int = Field(0, ge=0, le=2**32 - 1, description="Seeds initialisation, shuffling and splits.")


class Workers(ApiType):
    """The gang: pods (nodes) times processes in each."""

    nodes: int = Field(1, ge=1, le=1024, description="Pods, each on a node of its own.")
    processes_per_node: Annotated[int, Field(ge=1, le=64)] | Literal["auto"] = Field(
        "auto", description="A number from 1 to 64, or auto: the operator chooses."
    )


class Checkpoint(ApiType):
    """When the state of the run is saved, and how many are kept."""

    every_epochs: int = Field(1, ge=1, le=MAX_COUNT, description="Epochs between two checkpoints.")
    keep: int = Field(2, ge=1, le=MAX_COUNT, description="Newest checkpoints that are kept.")


class Parity(ApiType):
    """How far onnxruntime's outputs may be from PyTorch's: |a - b| <= atol + rtol * |b|."""

    rtol: float = Field(1e-3, ge=0, le=1, description="Relative tolerance.")
    atol: float = Field(1e-5, ge=0, le=1, description="Absolute tolerance.")


class Export(ApiType):
    """How the trained model becomes ONNX."""

    opset: int = Field(18, ge=18, le=20, description="Version of the ONNX operator set.")
    precision: Literal["fp32", "fp16", "int8"] = Field("fp32", description="Number format of the weights.")
    dynamic_batch: bool = Field(True, description="Leave the batch axis open, so that requests can be batched.")
    parity: Parity = Parity()


class Gates(ApiType):
    """What must hold before anything is published; not met, the run fails with reason GateNotMet."""

    min_accuracy: float | None = Field(None, ge=0, le=1, description="Least share of right answers on the test split.")


class Output(ApiType):
    """Where the result goes in the model store."""

    model: ModelName = Field(description="Name in the model store; each success publishes the next version under it.")


class Policy(ApiType):
    """What happens around the run."""

    retries: int = Field(3, ge=0, le=100, description="Further attempts after a failure of the training itself.")
    suspend: bool = Field(False, description="Keep the run from starting, or stop it at its next checkpoint.")
    active_deadline_seconds: int | None = Field(
        None, ge=1, le=MAX_COUNT, description="The run fails when it has been running for longer than this."
    )
    pending_deadline_seconds: int | None = Field(
        None, ge=1, le=MAX_COUNT, description="The run fails when its pods have waited for a node for longer than this."
    )
    ttl_seconds_after_finished: int | None = Field(
        None, ge=0, le=MAX_COUNT, description="The TrainJob is deleted this long after it finished."
    )


class TrainJobSpec(ApiType):
    """The desired run. Immutable once the first attempt has started, but for policy."""

    model: ModelSource
    dataset: Dataset | None = None
    trainer: Trainer = Trainer()
    workers: Workers = Workers()
    resources: Resources = Resources()
    checkpoint: Checkpoint | None = None
    export: Export = Export()
    gates: Gates | None = None
    output: Output | None = None
    policy: Policy = Policy()

    rules = (
        Rule(
            message="dataset is required to train a zoo model",
            cel="!has(self.model.name) || has(self.dataset)",
            holds=lambda spec: spec.model.name is None or spec.dataset is not None,
        ),
        Rule(
            message="output is required to train a zoo model",
            cel="!has(self.model.name) || has(self.output)",
            holds=lambda spec: spec.model.name is None or spec.output is not None,
        ),
    )


class Attempt(StatusType):
    """One start of the gang."""

    number: int = Field(ge=1)
    pods: list[str] | None = None
    start_time: Timestamp | None = None
    completion_time: Timestamp | None = None
    exit_code: int | None = None
    reason: str | None = None
    message: str | None = None


class Progress(StatusType):
    """Where the run is, as the pod's rank 0 says."""

    epoch: int | None = None
    epochs: int | None = None
    step: int | None = None
    percent: int | None = Field(None, ge=0, le=100)
    samples_per_second: Figure = None
    eta_seconds: Figure = None
    loss: Figure = None
    accuracy: Figure = None
    updated_time: Timestamp | None = None


class Result(StatusType):
    """What the finished run measured."""

    accuracy: Figure = None
    loss: Figure = None
    samples_per_second: Figure = None
    seconds_lost: Figure = Field(None, description="Seconds of work lost to restarts.")
    energy_joules: Figure = Field(None, description="Absent where no energy counter exists.")
    gpu_seconds: Figure = None


class MeasuredParity(StatusType):
    """Largest differences seen between onnxruntime's outputs and PyTorch's."""

    max_abs: float
    max_rel: float


class Artifact(StatusType):
    """The published version."""

    uri: str
    version: int = Field(ge=1)
    digest: Digest
    bytes: int = Field(ge=0)
    opset: int
    parity: MeasuredParity


class TrainJobColumns(StatusType):
    """Figures as `kubectl get trainjobs` prints them; a printer column can only show a field as it stands."""

    epoch: str | None = Field(None, description="Finished and wanted epochs, such as 3/5.")
    accuracy: str | None = Field(None, description="On the test split, such as 0.974.")
    images_per_second: str | None = Field(None, description="Training throughput, such as 4437.")


class TrainJobStatus(StatusType):
    """What the operator observed."""

    phase: str | None = Field(None, description="Derived from the conditions, for the printer column.")
    conditions: Conditions | None = None
    observed_generation: int | None = None
    start_time: Timestamp | None = None
    completion_time: Timestamp | None = None
    spec_digests: dict[str, str] | None = Field(
        None,
        description="Digest of each field of the spec that the first attempt was built from; it cannot change after.",
    )
    attempts: list[Attempt] | None = None
    progress: Progress | None = None
    result: Result | None = None
    artifact: Artifact | None = None

    @computed_field
    def columns(self) -> TrainJobColumns:
        """Derived from progress and result, for the printer columns; written and never read."""
        progress, result = self.progress or Progress(), self.result or Result()
        accuracy = progress.accuracy if result.accuracy is None else result.accuracy
        rate = progress.samples_per_second if result.samples_per_second is None else result.samples_per_second
        return TrainJobColumns(
            epoch=None if progress.epochs is None else f"{progress.epoch or 0}/{progress.epochs}",
            accuracy=None if accuracy is None else f"{accuracy:.3f}",
            images_per_second=None if rate is None else f"{rate:.0f}",
        )
