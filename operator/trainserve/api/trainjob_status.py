"""What the operator observed of a TrainJob, with what its pods reported."""

from __future__ import annotations

from pydantic import Field, computed_field

from trainserve.api.base import Conditions, StatusType
from trainserve.api.messages import Artifact, Progress, Result
from trainserve.api.scalars.values import MAX_COUNT, Count, Text, Timestamp


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
