"""What the operator observed of a TrainJob, with what its pods reported."""

from __future__ import annotations

from pydantic import Field, computed_field

from trainserve.api.base import MAX_COUNT, Conditions, Count, Digest, Figure, StatusType, Text, Timestamp


class Attempt(StatusType):
    """One start of the gang."""

    number: int = Field(ge=1, le=MAX_COUNT)
    pods: list[str] | None = Field(
        None, description="Of the latest attempt; those of an earlier one were named <job>-<attempt>-<rank> too."
    )
    start_time: Timestamp | None = None
    completion_time: Timestamp | None = None
    exit_code: int | None = Field(None, ge=-MAX_COUNT, le=MAX_COUNT)
    reason: Text = None
    message: Text = None


class Progress(StatusType):
    """Where the run is, as the pod's rank 0 says."""

    epoch: Count | None = None
    epochs: Count | None = None
    step: Count | None = None
    percent: int | None = Field(None, ge=0, le=100)
    samples_per_second: Figure = None
    eta_seconds: Figure = None
    loss: Figure = None
    accuracy: Figure = None
    gpu_utilization: Figure = Field(None, description="Share of the time in which the GPUs worked, 0 to 1.")
    gpu_memory_bytes: Count | None = Field(None, description="In use on the GPUs.")
    updated_time: Timestamp | None = None


class MeasuredEnergy(StatusType):
    """Energy of the training, from counters alone; what no counter gave is absent, and `reason` says why."""

    joules: Figure = Field(None, description="Of the GPUs that trained; in a run on the CPU, of the node's processors.")
    source: Text = Field(None, description="nvml, rapl, or none.")
    reason: Text = Field(None, description="Why a reading is missing.")
    joules_per_epoch: Figure = None
    joules_per_image: Figure = None
    cpu_joules: Figure = Field(None, description="Of the node's processors and memory, whatever ran there.")
    grams_co2e: Figure = Field(
        None, alias="gramsCO2e", description="Of joules, where energy.gridIntensity is given: grams of CO2 equivalent."
    )


class Result(StatusType):
    """What the finished run measured, on the test split where it concerns the model."""

    accuracy: Figure = None
    loss: Figure = None
    samples_per_second: Figure = None
    seconds_lost: Figure = Field(None, description="Seconds of work lost to restarts.")
    precision: Text = Field(None, description="Arithmetic of the training step: fp32, tf32 or bf16.")
    exported_accuracy: Figure = Field(None, description="Of the exported file, where it was measured.")
    exported_loss: Figure = Field(None, description="Of the exported file, where it was measured.")
    energy: MeasuredEnergy | None = None
    energy_joules: Figure = Field(None, description="Absent where no energy counter exists.")
    gpu_seconds: Figure = None


class MeasuredParity(StatusType):
    """Largest differences seen between onnxruntime's outputs and PyTorch's."""

    max_abs: float
    max_rel: float


class Artifact(StatusType):
    """The published version."""

    uri: str = Field(min_length=1)
    version: int = Field(ge=1, le=MAX_COUNT)
    digest: Digest
    bytes: Count
    opset: Count
    precision: Text = Field(None, description="Number format of the weights: fp32, fp16 or int8.")
    parity: MeasuredParity | None = Field(
        None, description="Absent where a script wrote the file itself and recorded nothing to compare it with."
    )


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
    attempts_dropped: Count | None = Field(
        None, description="Attempts ended by faults of the cluster that are no longer listed; the first and newest are."
    )
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
