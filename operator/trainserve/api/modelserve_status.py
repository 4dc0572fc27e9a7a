"""The status of a ModelServe: the operator's observations and its pods' reports."""

from __future__ import annotations

from pydantic import Field, computed_field

from trainserve.api.base import Conditions, StatusType
from trainserve.api.scalars.values import Figure, Timestamp


class Replicas(StatusType):
    """Pods of the version that takes traffic."""

    desired: int = Field(description="Pods that should serve.", examples=[2], json_schema_extra={"unit": "pods"})
    ready: int = Field(description="Pods that are ready.", examples=[1], json_schema_extra={"unit": "pods"})


class Latency(StatusType):
    """Latency that the pods' probes measured: one inference at a time, milliseconds."""

    p50_ms: Figure = Field(
        None, description="Median latency.", examples=[0.7], json_schema_extra={"unit": "milliseconds"}
    )
    p99_ms: Figure = Field(
        None, description="99th percentile of the latency.", examples=[2.1], json_schema_extra={"unit": "milliseconds"}
    )


class Tuning(StatusType):
    """Measurements for the latency objective, and the settings in use because they meet it."""

    key: str | None = Field(
        None,
        description="Digest of what was measured: model, objective, other settings and hardware.",
        examples=["0123456789"],
    )
    objective: str | None = Field(
        None, description="The objective, spec.slo.p99.", examples=["20ms"], json_schema_extra={"unit": "duration"}
    )
    held: bool | None = Field(None, description="Whether the chosen settings hold the objective.", examples=[True])
    reason: str | None = Field(
        None, description="Why nothing was measured; unset if something was.", examples=["TuningFailed"]
    )
    message: str | None = Field(
        None,
        description="The choice, or what would be needed to hold the objective, or what failed.",
        examples=["2 instances hold 812 requests per second"],
    )
    max_batch: int | None = Field(
        None, description="Chosen dynamicBatching.maxBatch.", examples=[8], json_schema_extra={"unit": "samples"}
    )
    max_queue_delay: str | None = Field(
        None,
        description="Chosen dynamicBatching.maxQueueDelay.",
        examples=["500us"],
        json_schema_extra={"unit": "duration"},
    )
    instances: int | None = Field(None, description="Chosen instances.", examples=[2])
    threads: int | None = Field(None, description="Chosen threads.", examples=[1])
    p99_ms: Figure = Field(
        None,
        description="99th percentile of the latency of one pod under the measured load, with these settings.",
        examples=[17.0],
        json_schema_extra={"unit": "milliseconds"},
    )
    requests_per_second: Figure = Field(
        None,
        description="Load at which that latency was measured.",
        examples=[812.0],
        json_schema_extra={"unit": "requests per second"},
    )


class HistoryEntry(StatusType):
    """A version that took traffic, and since when."""

    version: int | None = Field(None, description="Number of the version; absent for a lone graph.", examples=[3])
    digest: str = Field(
        description="Digest of the version, or of the lone graph.",
        examples=["sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
    )
    time: Timestamp = Field(description="When it began to take traffic.", examples=["2026-11-22T16:00:00Z"])


class ModelServeColumns(StatusType):
    """Figures as `kubectl get modelserves` prints them; a printer column can only show a field as it stands."""

    replicas: str | None = Field(None, description="Ready and desired replicas, such as 1/2.", examples=["1/2"])
    p99: str | None = Field(None, description="Latency with its unit, such as 2.1ms.", examples=["2.1ms"])


class ModelServeStatus(StatusType):
    """State of the service as the operator last observed it."""

    phase: str | None = Field(
        None,
        description="Summary of the conditions, for the printer column: Waiting, Starting, Updating, Ready, Degraded,"
        " Failed or Refused.",
        examples=["Ready"],
    )
    conditions: Conditions | None = None
    observed_generation: int | None = Field(
        None, description="metadata.generation of the spec that this status describes.", examples=[1]
    )
    url: str | None = Field(
        None, description="Address of the HTTP endpoint within the cluster.", examples=["http://digits.default:8000"]
    )
    grpc_url: str | None = Field(
        None, description="Address of the gRPC endpoint within the cluster.", examples=["digits.default:8001"]
    )
    version: int | None = Field(
        None, description="Number of the version that takes traffic; absent for a lone graph.", examples=[3]
    )
    digest: str | None = Field(
        None,
        description="Digest of the model that takes traffic.",
        examples=["sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
    )
    replicas: Replicas | None = None
    latency: Latency | None = None
    tuning: Tuning | None = None
    history: list[HistoryEntry] | None = None

    @computed_field  # type: ignore[prop-decorator]  # mypy takes no decorator above a property
    @property
    def columns(self) -> ModelServeColumns:
        """Derived from replicas and latency, for the printer columns; written and never read."""
        p99_ms = self.latency.p99_ms if self.latency else None
        return ModelServeColumns(
            replicas=f"{self.replicas.ready}/{self.replicas.desired}" if self.replicas else None,
            p99=None if p99_ms is None else f"{p99_ms:.1f}ms",
        )
