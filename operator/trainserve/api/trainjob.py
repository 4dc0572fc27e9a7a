"""TrainJob: train a model once, export it to ONNX, check it and publish it as the next version in the model store."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from trainserve.api.base import ApiType, Condition, Digest, ModelName, Resources


class ModelSource(ApiType):
    """What is trained: a model of the zoo, or the user's own code. Exactly one of name, script and command."""

    name: str | None = Field(
        None, min_length=1, max_length=128, description="A zoo name such as convnet, or timm/<name>."
    )
    options: dict[str, Any] | None = Field(None, description="Arguments of the zoo model.")
    script: str | None = Field(
        None, min_length=1, description="The user's own script, run instead of the zoo's trainer."
    )
    image: str | None = Field(None, min_length=1, description="Container image of the user's own command.")
    command: list[str] | None = Field(
        None, min_length=1, description="The user's own command, run as it is, without a shell."
    )


class Split(ApiType):
    """How samples are divided when the data set brings no test part of its own."""

    test: float = Field(0.2, gt=0, lt=1, description="Share of the samples held out for evaluation.")


class Dataset(ApiType):
    """Where the samples come from. Exactly one of name and uri."""

    name: str | None = Field(None, min_length=1, max_length=128, description="A built-in data set, such as digits.")
    uri: str | None = Field(
        None, pattern=r"^(pvc|s3|https)://.+", description="pvc://<claim>/<path>, s3:// or https://."
    )
    split: Split | None = None


class Trainer(ApiType):
    """Hyperparameters of the training loop."""

    epochs: int = Field(5, ge=1, le=100_000, description="Passes over the training samples.")
    batch_size: int = Field(64, ge=1, le=1_048_576, description="Samples per optimizer step, over all processes.")
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: float = Field(0.001, gt=0, le=10)
    precision: Literal["auto", "fp32", "tf32", "bf16"] = Field("auto", description="Arithmetic of the training step.")
    seed: int = Field(0, ge=0, le=2**32 - 1, description="Seeds initialisation, shuffling and splits.")


class Workers(ApiType):
    """The gang: pods (nodes) times processes in each."""

    nodes: int = Field(1, ge=1, le=1024)
    processes_per_node: int | Literal["auto"] = Field("auto", description="auto: one per GPU, else one.")


class Checkpoint(ApiType):
    """When the state of the run is saved, and how many are kept."""

    every_epochs: int = Field(1, ge=1)
    keep: int = Field(2, ge=1)


class Parity(ApiType):
    """How far onnxruntime's outputs may be from PyTorch's: |a - b| <= atol + rtol * |b|."""

    rtol: float = Field(1e-3, ge=0, le=1)
    atol: float = Field(1e-5, ge=0, le=1)


class Export(ApiType):
    """How the trained model becomes ONNX."""

    opset: int = Field(18, ge=18, le=20)
    precision: Literal["fp32", "fp16", "int8"] = "fp32"
    dynamic_batch: bool = True
    parity: Parity = Field(default_factory=Parity)


class Gates(ApiType):
    """What must hold before anything is published; not met, the run fails with reason GateNotMet."""

    min_accuracy: float | None = Field(None, ge=0, le=1, description="Least share of right answers on the test split.")


class Output(ApiType):
    """Where the result goes in the model store."""

    model: ModelName = Field(description="Name in the model store; each success publishes the next version under it.")


class Policy(ApiType):
    """What happens around the run."""

    retries: int = Field(3, ge=0, le=100, description="Further attempts after a failure of the training itself.")
    suspend: bool = False
    active_deadline_seconds: int | None = Field(None, ge=1)
    pending_deadline_seconds: int | None = Field(None, ge=1)
    ttl_seconds_after_finished: int | None = Field(None, ge=0)


class TrainJobSpec(ApiType):
    """The desired run. Immutable once the first attempt has started, but for policy."""

    model: ModelSource
    dataset: Dataset | None = None
    trainer: Trainer = Field(default_factory=Trainer)
    workers: Workers = Field(default_factory=Workers)
    resources: Resources = Field(default_factory=Resources)
    checkpoint: Checkpoint | None = None
    export: Export = Field(default_factory=Export)
    gates: Gates | None = None
    output: Output | None = None
    policy: Policy = Field(default_factory=Policy)


class Attempt(ApiType):
    """One start of the gang."""

    number: int = Field(ge=1)
    pods: list[str] | None = None
    start_time: str | None = None
    completion_time: str | None = None
    exit_code: int | None = None
    reason: str | None = None
    message: str | None = None


class Progress(ApiType):
    """Where the run is, as the pod's rank 0 says."""

    epoch: int | None = None
    epochs: int | None = None
    step: int | None = None
    percent: int | None = Field(None, ge=0, le=100)
    samples_per_second: float | None = None
    eta_seconds: float | None = None
    loss: float | None = None
    accuracy: float | None = None
    updated_time: str | None = None


class Result(ApiType):
    """What the finished run measured."""

    accuracy: float | None = None
    loss: float | None = None
    samples_per_second: float | None = None
    seconds_lost: float | None = Field(None, description="Seconds of work lost to restarts.")
    energy_joules: float | None = Field(None, description="Null where no energy counter exists.")
    gpu_seconds: float | None = None


class MeasuredParity(ApiType):
    """Largest differences seen between onnxruntime's outputs and PyTorch's."""

    max_abs: float
    max_rel: float


class Artifact(ApiType):
    """The published version."""

    uri: str
    version: int = Field(ge=1)
    digest: Digest
    bytes: int = Field(ge=0)
    opset: int
    parity: MeasuredParity


class TrainJobStatus(ApiType):
    """What the operator observed."""

    phase: str | None = Field(None, description="Derived from the conditions, for the printer column.")
    conditions: list[Condition] | None = None
    observed_generation: int | None = None
    start_time: str | None = None
    completion_time: str | None = None
    attempts: list[Attempt] | None = None
    progress: Progress | None = None
    result: Result | None = None
    artifact: Artifact | None = None
