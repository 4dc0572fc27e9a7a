"""The status of a TrainJob: the operator's observations and its pods' reports."""

from __future__ import annotations

from pydantic import Field, computed_field

from trainserve.api.base import Conditions, StatusType
from trainserve.api.reported import Artifact, Progress, Result
from trainserve.api.scalars.values import MAX_COUNT, Count, Text, Timestamp


class Attempt(StatusType):
    """One start of the gang."""

    number: int = Field(ge=1, le=MAX_COUNT, description="Number of the attempt; the first is 1.", examples=[1])
    pods: list[str] | None = Field(
        None,
        description="Names of the latest attempt's pods; those of an earlier one were named <job>-<attempt>-<rank>, "
        "too.",
        examples=[["digits-1-0"]],
    )
    start_time: Timestamp | None = Field(
        None, description="When the attempt's pods were made.", examples=["2026-11-22T16:00:00Z"]
    )
    completion_time: Timestamp | None = Field(
        None, description="When the attempt ended.", examples=["2026-11-22T16:00:00Z"]
    )
    exit_code: int | None = Field(
        None,
        ge=-MAX_COUNT,
        le=MAX_COUNT,
        description="Exit code of the container that decided the outcome.",
        examples=[1],
    )
    reason: Text = Field(None, description="Why the attempt ended, in one word.", examples=["OutOfMemory"])
    message: Text = Field(
        None,
        description="Why the attempt ended, in a sentence.",
        examples=["gates.minAccuracy: accuracy 0.91 is below 0.95"],
    )


class TrainJobColumns(StatusType):
    """Figures as `kubectl get trainjobs` prints them; a printer column can only show a field as it stands."""

    epoch: str | None = Field(None, description="Finished and requested epochs, such as 3/5.", examples=["3/5"])
    accuracy: str | None = Field(None, description="Accuracy on the test split, such as 0.974.", examples=["0.974"])
    images_per_second: str | None = Field(
        None,
        description="Training throughput, such as 4437.",
        examples=["4437"],
        json_schema_extra={"unit": "samples per second"},
    )


class TrainJobStatus(StatusType):
    """State of the run as the operator last observed it."""

    phase: str | None = Field(
        None,
        description="Summary of the conditions, for the printer column: Pending, Unschedulable, Running, Restarting, "
        "Complete, Failed or Refused.",
        examples=["Running"],
    )
    conditions: Conditions | None = None
    observed_generation: int | None = Field(
        None, description="metadata.generation of the spec that this status describes.", examples=[1]
    )
    start_time: Timestamp | None = Field(
        None, description="When the first attempt was started.", examples=["2026-11-22T16:00:00Z"]
    )
    completion_time: Timestamp | None = Field(
        None, description="When the run completed or failed.", examples=["2026-11-22T16:00:00Z"]
    )
    spec_digests: dict[str, str] | None = Field(
        None,
        description="Digest of each field of the spec from which the first attempt was built; those fields cannot "
        "change afterwards.",
        examples=[{"model": "6b86b273ff34fce1"}],
    )
    attempts: list[Attempt] | None = None
    attempts_dropped: Count | None = Field(
        None,
        description="Attempts ended by faults of the cluster that are no longer listed; the first and newest are.",
        examples=[12],
    )
    progress: Progress | None = None
    result: Result | None = None
    artifact: Artifact | None = None

    @computed_field  # type: ignore[prop-decorator]  # mypy takes no decorator above a property
    @property
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
