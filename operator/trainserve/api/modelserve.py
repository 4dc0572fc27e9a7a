"""ModelServe: serve a published version on Triton, verified before it takes traffic."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from trainserve.api.base import (
    ApiType,
    PodTemplate,
    Resources,
    Rule,
    exactly_one_of,
    requires,
    stays_inside,
)
from trainserve.api.scalars.address import Digest
from trainserve.api.scalars.duration import Duration
from trainserve.api.scalars.names import OBJECT_NAME_PATTERN, LabelKey, LabelValue, ModelName
from trainserve.api.scalars.values import MAX_COUNT
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
        examples=["s3://samples/digits.npz"],
    )
    digest: Digest | None = Field(
        None,
        description="sha256 of that file. Unset: any content is accepted when a pod starts.",
        examples=["sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
    )

    rules = (stays_inside("uri"),)


class ModelRef(ApiType):
    """The model to serve: name (newest version), name + version, trainJob (version of that run), or uri + digest."""

    name: ModelName | None = Field(
        None, description="Name of the model in the model store, in this namespace.", examples=["digits"]
    )
    version: int | None = Field(
        None, ge=1, le=MAX_COUNT, description="Version that is served. Unset: always the newest.", examples=[3]
    )
    train_job: str | None = Field(
        None,
        pattern=OBJECT_NAME_PATTERN,
        max_length=63,
        description="Name of a TrainJob in this namespace; what it published is served.",
        examples=["digits"],
    )
    uri: str | None = Field(
        None,
        pattern=URI_PATTERN,
        max_length=1024,
        description="Address of a version's folder, <root>/<namespace>/<model>/<version>, or of a lone .onnx file: on"
        " a claim of this namespace, in an object store or on a web server. file:// is accepted for the "
        "operator's own store only.",
        examples=["s3://models/default/digits/3"],
    )
    digest: Digest | None = Field(
        None,
        description="sha256 of the version's manifest.json, or of the lone file; required with uri.",
        examples=["sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
    )
    public_key: str | None = Field(
        None,
        pattern=ED25519_PATTERN,
        max_length=256,
        description="PEM of an Ed25519 public key. A model without its signature is refused before anything of it is "
        "loaded.",
        examples=[
            "-----BEGIN PUBLIC KEY-----\n"
            "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n"
            "-----END PUBLIC KEY-----\n"
        ],
    )

    samples: Samples | None = Field(
        None,
        description="Inputs with which a lone .onnx file is verified before it takes traffic; a version has samples "
        "of its own.",
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

    min: int = Field(1, ge=0, le=1000, description="Fewest replicas.", examples=[2], json_schema_extra={"unit": "pods"})
    max: int = Field(ge=1, le=1000, description="Most replicas.", examples=[8], json_schema_extra={"unit": "pods"})
    metric: Literal["concurrency", "queueRatio", "gpuUtilization"] = Field(
        "concurrency",
        description="concurrency: requests in flight per replica. queueRatio: share of the time that requests are "
        "queued. gpuUtilization: share of the time that the GPUs are busy.",
    )
    target: float = Field(
        gt=0, description="Value of the metric at which the number of replicas stays as it is.", examples=[4]
    )

    rules = (
        Rule(
            message="min must not be greater than max",
            cel="self.min <= self.max",
            holds=lambda autoscaling: autoscaling.min <= autoscaling.max,
        ),
    )


class Slo(ApiType):
    """The latency objective."""

    p99: Duration = Field(
        description="Time within which 99 of 100 requests must be answered.",
        examples=["20ms"],
        json_schema_extra={"unit": "duration"},
    )
    measure_seconds: int = Field(
        240,
        ge=10,
        le=3000,
        description="Approximate time of the measurement. With less, fewer settings are tried; a slow model needs "
        "more.",
        examples=[600],
        json_schema_extra={"unit": "seconds"},
    )


class Verify(ApiType):
    """Verification of a version before it takes traffic."""

    samples: int = Field(
        64,
        ge=1,
        le=100_000,
        description="Most recorded samples that are sent through the running server.",
        examples=[256],
        json_schema_extra={"unit": "samples"},
    )


class Rollout(ApiType):
    """Replacement of the old version by a new one."""

    strategy: Literal["BlueGreen", "Canary"] = Field(
        "BlueGreen",
        description="BlueGreen: all traffic moves when the new version is verified. Canary: it moves step by step.",
        examples=["BlueGreen"],
    )
    verify: Verify = Verify()
    steps: list[Annotated[int, Field(ge=1, le=100)]] | None = Field(
        None,
        min_length=1,
        max_length=100,
        description="Share of the traffic that the new version gets in each step of a canary.",
        examples=[[10, 50, 100]],
        json_schema_extra={"unit": "percent"},
    )
    interval: Duration | None = Field(
        None,
        description="Time between two steps of a canary.",
        examples=["10m"],
        json_schema_extra={"unit": "duration"},
    )


class Selector(ApiType):
    """Labels that something must have; none: whatever there is."""

    match_labels: dict[LabelKey, LabelValue] | None = Field(
        None,
        max_length=16,
        description="Labels and their values. Unset: everything matches.",
        examples=[{"team": "vision"}],
    )


class IpBlock(ApiType):
    """Addresses."""

    cidr: str = Field(
        pattern=r"^[0-9a-fA-F.:]{2,45}/[0-9]{1,3}$",
        description="Range of addresses in CIDR notation, such as 10.0.0.0/8.",
        examples=["10.0.0.0/8"],
    )


class Peer(ApiType):
    """Allowed callers, written as a peer of a NetworkPolicy."""

    namespace_selector: Selector | None = Field(
        None, description="Namespaces of the clients; {}: all. Unset: this namespace, if podSelector is set."
    )
    pod_selector: Selector | None = Field(None, description="Pods in those namespaces; {} or unset: all.")
    ip_block: IpBlock | None = Field(None, description="Addresses, for example of clients outside the cluster.")

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
    replicas: int = Field(
        1, ge=0, le=1000, description="Pods that serve the model.", examples=[2], json_schema_extra={"unit": "pods"}
    )
    autoscaling: Autoscaling | None = None
    resources: Resources = Resources()
    pod: PodTemplate | None = None
    triton: Triton = Triton()
    slo: Slo | None = None
    rollout: Rollout = Rollout()
    clients: list[Peer] | None = Field(
        None,
        max_length=32,
        description="Who may reach ports 8000 and 8001, if the chart's networkPolicies are on. Unset: all pods of "
        "this namespace. An Ingress or a Gateway is a client, too.",
    )

    rules = (
        Rule(
            message="triton.tensorRT can only be set where resources.gpus is at least 1",
            cel="!has(self.triton.tensorRT) || self.resources.gpus > 0",
            holds=lambda spec: spec.triton.tensor_rt is None or spec.resources.gpus > 0,
        ),
    )
