"""ModelServe: serve a published version on Triton, verified before it takes traffic."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, computed_field

from trainserve.api.base import (
    ApiType,
    Conditions,
    PodTemplate,
    Resources,
    Rule,
    StatusType,
    exactly_one_of,
    requires,
    stays_inside,
)
from trainserve.api.scalars.address import Digest
from trainserve.api.scalars.duration import Duration
from trainserve.api.scalars.names import OBJECT_NAME_PATTERN, LabelKey, LabelValue, ModelName
from trainserve.api.scalars.values import MAX_COUNT, Figure, Timestamp
from trainserve.api.triton import Triton

NAME_LIMIT = 40
"""Longest name of a ModelServe: its ReplicaSets are named <serve>-<10 digits of a digest>-<10 of a template's hash>,
and a name that is also a label has 63 characters."""

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
URI_PATTERN = (
    rf"^(file://|(pvc|s3|https)://[^/@\s]+)(/[^/\s]+)*/{_LABEL}/{_LABEL}/[1-9][0-9]{{0,8}}$"
    r"|^(pvc|s3|https)://[^/@\s]+(/[^/\s]+)*/[^/\s]+\.onnx$"
)
"""A version's folder, or a lone graph."""
SAMPLES_PATTERN = r"^(pvc|s3|https)://[^/@\s]+(/[^/\s]+)*/[^/\s]+\.npz$"
ED25519_PATTERN = r"^-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA[A-Za-z0-9+/]{43}=\n-----END PUBLIC KEY-----\n?$"
"""PEM of an Ed25519 public key: what comes before the key's own 32 bytes is the same for all (RFC 8410)."""


class Samples(ApiType):
    """Real inputs of a lone graph, and what it has to answer where that is known: an array for each by its name."""

    uri: str = Field(
        pattern=SAMPLES_PATTERN,
        max_length=1024,
        description="An .npz file on a claim of this namespace, in an object store or on a web server.",
    )
    digest: Digest | None = Field(
        None, description="sha256 of that file. Unset: whatever lies there when a pod starts."
    )

    rules = (stays_inside("uri"),)


class ModelRef(ApiType):
    """What is served: name (newest version), name + version, trainJob (what that run published), or uri + digest."""

    name: ModelName | None = Field(None, description="Name in the model store, in this namespace.")
    version: int | None = Field(None, ge=1, le=MAX_COUNT, description="Pins one version; unset follows the newest.")
    train_job: str | None = Field(
        None, pattern=OBJECT_NAME_PATTERN, max_length=63, description="A TrainJob of this namespace."
    )
    uri: str | None = Field(
        None,
        pattern=URI_PATTERN,
        max_length=1024,
        description="A version's folder, <root>/<namespace>/<model>/<version>, or a lone .onnx file: on a claim of this"
        " namespace, in an object store or on a web server. file:// is the operator's own store alone.",
    )
    digest: Digest | None = Field(
        None, description="sha256 of the version's manifest.json, or of the lone file; required with uri."
    )
    public_key: str | None = Field(
        None,
        pattern=ED25519_PATTERN,
        max_length=256,
        description="PEM of an Ed25519 public key. What it has not signed is refused before anything of it is loaded.",
    )

    samples: Samples | None = Field(
        None,
        description="What a lone .onnx file is verified by before it takes traffic; a version has samples of its own.",
    )

    rules = (
        exactly_one_of("name", "train_job", "uri"),
        requires("version", "name"),
        requires("uri", "digest"),
        requires("digest", "uri"),
        stays_inside("uri"),
        Rule(
            message="samples can only be set where uri is a lone .onnx file",
            cel="!has(self.samples) || (has(self.uri) && self.uri.endsWith('.onnx'))",
            holds=lambda ref: ref.samples is None or (ref.uri or "").endswith(".onnx"),
        ),
    )


class Autoscaling(ApiType):
    """Replicas by load."""

    min: int = Field(1, ge=0, le=1000, description="Fewest replicas.")
    max: int = Field(ge=1, le=1000, description="Most replicas.")
    metric: Literal["concurrency", "queueRatio", "gpuUtilization"] = Field(
        "concurrency", description="Requests in flight per replica, share of time spent queued, or share of GPU busy."
    )
    target: float = Field(gt=0, description="Value of the metric that is aimed at.")

    rules = (
        Rule(
            message="min must not be greater than max",
            cel="self.min <= self.max",
            holds=lambda autoscaling: autoscaling.min <= autoscaling.max,
        ),
    )


class Slo(ApiType):
    """The latency objective."""

    p99: Duration = Field(description="99 of 100 requests are answered within this.")
    measure_seconds: int = Field(
        240,
        ge=10,
        le=3000,
        description="About how long is measured. With less, fewer settings are tried; a slow model needs more.",
    )


class Verify(ApiType):
    """How much is checked before a version takes traffic."""

    samples: int = Field(64, ge=1, le=100_000, description="Recorded samples sent through the running server, at most.")


class Rollout(ApiType):
    """How a new version replaces the old one."""

    strategy: Literal["BlueGreen", "Canary"] = Field(
        "BlueGreen", description="All traffic at once when the new version is verified, or step by step."
    )
    verify: Verify = Verify()
    steps: list[Annotated[int, Field(ge=1, le=100)]] | None = Field(
        None, min_length=1, max_length=100, description="Percent of the traffic that each step of a canary gets."
    )
    interval: Duration | None = Field(None, description="Time between two steps of a canary.")


class Selector(ApiType):
    """Labels that something must have; none: whatever there is."""

    match_labels: dict[LabelKey, LabelValue] | None = Field(None, max_length=16)


class IpBlock(ApiType):
    """Addresses."""

    cidr: str = Field(pattern=r"^[0-9a-fA-F.:]{2,45}/[0-9]{1,3}$", description="Such as 10.0.0.0/8.")


class Peer(ApiType):
    """Who may ask, in a NetworkPolicy's own words."""

    namespace_selector: Selector | None = Field(
        None, description="Namespaces; {}: all. Unset: this one, where podSelector is set."
    )
    pod_selector: Selector | None = Field(None, description="Pods there; {} or unset: all.")
    ip_block: IpBlock | None = Field(None, description="Addresses, such as of clients outside of the cluster.")

    rules = (
        Rule(
            message="exactly one of ipBlock, and namespaceSelector and podSelector, must be set",
            cel="has(self.ipBlock) != (has(self.namespaceSelector) || has(self.podSelector))",
            holds=lambda peer: (
                (peer.ip_block is not None) != (peer.namespace_selector is not None or peer.pod_selector is not None)
            ),
        ),
    )


class ModelServeSpec(ApiType):
    """The desired service."""

    model: ModelRef
    replicas: int = Field(1, ge=0, le=1000, description="Pods that serve the model.")
    autoscaling: Autoscaling | None = None
    resources: Resources = Resources()
    pod: PodTemplate | None = None
    triton: Triton = Triton()
    slo: Slo | None = None
    rollout: Rollout = Rollout()
    clients: list[Peer] | None = Field(
        None,
        max_length=32,
        description="Who may reach ports 8000 and 8001, where the chart's networkPolicies are on. Unset: all pods of "
        "this namespace. An Ingress or Gateway is a client, too.",
    )

    rules = (
        Rule(
            message="triton.tensorRT can only be set where resources.gpus is at least 1",
            cel="!has(self.triton.tensorRT) || self.resources.gpus > 0",
            holds=lambda spec: spec.triton.tensor_rt is None or spec.resources.gpus > 0,
        ),
    )


class Replicas(StatusType):
    """Pods of the version that takes traffic."""

    desired: int
    ready: int


class Latency(StatusType):
    """As the pods' own probes measured it: one inference at a time, milliseconds."""

    p50_ms: Figure = None
    p99_ms: Figure = None


class Tuning(StatusType):
    """What was measured for the objective, and the settings that are served with because they hold it."""

    key: str | None = Field(None, description="What was measured: model, objective, other settings and hardware.")
    objective: str | None = None
    held: bool | None = None
    reason: str | None = Field(None, description="Why nothing was measured; unset where something was.")
    message: str | None = Field(None, description="What was chosen, or what would be needed, or what failed.")
    max_batch: int | None = None
    max_queue_delay: str | None = None
    instances: int | None = None
    threads: int | None = None
    p99_ms: Figure = Field(None, description="Measured with these settings under this load, by one pod.")
    requests_per_second: Figure = None


class HistoryEntry(StatusType):
    """A version that took traffic, and since when."""

    version: int | None = None
    digest: str
    time: Timestamp


class ModelServeColumns(StatusType):
    """Figures as `kubectl get modelserves` prints them; a printer column can only show a field as it stands."""

    replicas: str | None = Field(None, description="Ready and desired replicas, such as 1/2.")
    p99: str | None = Field(None, description="Latency with its unit, such as 2.1ms.")


class ModelServeStatus(StatusType):
    """What the operator observed."""

    phase: str | None = None
    conditions: Conditions | None = None
    observed_generation: int | None = None
    url: str | None = None
    grpc_url: str | None = None
    version: int | None = Field(None, description="The version that takes traffic.")
    digest: str | None = None
    replicas: Replicas | None = None
    latency: Latency | None = None
    tuning: Tuning | None = None
    history: list[HistoryEntry] | None = None

    @computed_field
    def columns(self) -> ModelServeColumns:
        """Derived from replicas and latency, for the printer columns; written and never read."""
        p99_ms = self.latency.p99_ms if self.latency else None
        return ModelServeColumns(
            replicas=f"{self.replicas.ready}/{self.replicas.desired}" if self.replicas else None,
            p99=None if p99_ms is None else f"{p99_ms:.1f}ms",
        )
