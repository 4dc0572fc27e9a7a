"""ModelServe: serve a published version on Triton, verified before it takes traffic."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trainserve.api.base import ApiType, Condition, Digest, Duration, ModelName, Resources


class ModelRef(ApiType):
    """Which version is served: name (newest), name + version, trainJob (what that run published), or uri + digest."""

    name: ModelName | None = Field(None, description="Name in the model store, in this namespace.")
    version: int | None = Field(None, ge=1, description="Pins one version; unset follows the newest.")
    train_job: str | None = Field(None, min_length=1, max_length=63, description="A TrainJob of this namespace.")
    uri: str | None = Field(None, min_length=1, description="A version's folder in the model store.")
    digest: Digest | None = Field(None, description="sha256 of the version's manifest.json; required with uri.")


class Autoscaling(ApiType):
    """Replicas by load."""

    min: int = Field(1, ge=0)
    max: int = Field(ge=1)
    metric: Literal["concurrency", "queueRatio", "gpuUtilization"] = "concurrency"
    target: float = Field(gt=0)


class DynamicBatching(ApiType):
    """How Triton gathers single requests into batches."""

    max_batch: int = Field(64, ge=1, le=4096)
    max_queue_delay: Duration | None = Field(
        None, description="How long a request may wait for company. Unset: not at all."
    )


class Triton(ApiType):
    """Settings of the server."""

    image: str | None = Field(None, min_length=1, description="Unset: the operator's default image.")
    instances: int = Field(1, ge=1, le=64, description="Model instances per pod.")
    dynamic_batching: DynamicBatching = Field(default_factory=DynamicBatching)
    warmup: bool = False
    response_cache: bool = False


class Slo(ApiType):
    """The latency objective."""

    p99: Duration


class Verify(ApiType):
    """How much is checked before a version takes traffic."""

    samples: int = Field(64, ge=1, le=100_000, description="Recorded samples sent through the running server, at most.")


class Rollout(ApiType):
    """How a new version replaces the old one."""

    strategy: Literal["BlueGreen", "Canary"] = "BlueGreen"
    verify: Verify = Field(default_factory=Verify)
    steps: list[int] | None = None
    interval: Duration | None = None


class ModelServeSpec(ApiType):
    """The desired service."""

    model: ModelRef
    replicas: int = Field(1, ge=0, le=1000)
    autoscaling: Autoscaling | None = None
    resources: Resources = Field(default_factory=Resources)
    triton: Triton = Field(default_factory=Triton)
    slo: Slo | None = None
    rollout: Rollout = Field(default_factory=Rollout)


class Replicas(ApiType):
    """Pods of the version that takes traffic."""

    desired: int
    ready: int


class Latency(ApiType):
    """As the pods' own probes measured it: one inference at a time, milliseconds."""

    p50_ms: float | None = None
    p99_ms: float | None = None


class Tuning(ApiType):
    """The settings chosen to hold the objective."""

    max_batch: int | None = None
    instances: int | None = None
    p99_ms: float | None = None


class HistoryEntry(ApiType):
    """A version that took traffic, and since when."""

    version: int | None = None
    digest: str
    time: str


class ModelServeStatus(ApiType):
    """What the operator observed."""

    phase: str | None = None
    conditions: list[Condition] | None = None
    observed_generation: int | None = None
    url: str | None = None
    grpc_url: str | None = None
    version: int | None = Field(None, description="The version that takes traffic.")
    digest: str | None = None
    replicas: Replicas | None = None
    latency: Latency | None = None
    tuning: Tuning | None = None
    history: list[HistoryEntry] | None = None
