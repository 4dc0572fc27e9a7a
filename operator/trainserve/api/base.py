"""What both kinds share: the base of all API types, field types for quantities and names, conditions, resources."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

QUANTITY_PATTERN = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$"
DURATION_PATTERN = r"^[0-9]+(\.[0-9]+)?(us|ms|s|m|h)$"
NAME_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
DIGEST_PATTERN = r"^sha256:[0-9a-f]{64}$"

Quantity = Annotated[str, Field(pattern=QUANTITY_PATTERN, examples=["500m", "4Gi"])]
"""A Kubernetes resource quantity: cores for cpu, bytes for memory."""
Duration = Annotated[str, Field(pattern=DURATION_PATTERN, examples=["500us", "20ms", "1.5s"])]
ModelName = Annotated[str, Field(pattern=NAME_PATTERN, min_length=1, max_length=40)]
"""A model's name in the store: also a folder, a Triton model name and a label value."""
Digest = Annotated[str, Field(pattern=DIGEST_PATTERN)]


class ApiType(BaseModel):
    """Base of every API type: camelCase on the wire, unknown fields refused by name."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", protected_namespaces=())


class Toleration(ApiType):
    """As in a Pod's spec."""

    key: str | None = None
    operator: Literal["Exists", "Equal"] | None = None
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    toleration_seconds: int | None = Field(None, ge=0)


class Gpu(ApiType):
    """Which GPU will do; matched against the labels that GPU feature discovery sets."""

    product: list[str] | None = Field(
        None, min_length=1, description="Accepted values of the node label nvidia.com/gpu.product."
    )
    min_memory: Quantity | None = Field(None, description="Least memory of one GPU, in bytes (nvidia.com/gpu.memory).")
    mig: str | None = Field(
        None, pattern=r"^[0-9]+g\.[0-9]+gb$", description="MIG profile instead of whole GPUs, such as 1g.10gb."
    )


class Resources(ApiType):
    """What one pod gets."""

    gpus: int = Field(0, ge=0, le=16, description="GPUs of one pod (nvidia.com/gpu).")
    gpu: Gpu | None = None
    cpu: Quantity | None = Field(None, description="CPU cores, as request and limit. Unset: no request.")
    memory: Quantity | None = Field(None, description="Memory in bytes, as request and limit. Unset: no request.")
    node_selector: dict[str, str] | None = None
    tolerations: list[Toleration] | None = None


class Condition(ApiType):
    """A condition as in Kubernetes' metav1.Condition."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str = ""
    last_transition_time: str = Field(description="RFC 3339, UTC; moves only when status changes.")
    observed_generation: int | None = None
