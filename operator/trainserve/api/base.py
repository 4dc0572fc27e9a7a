"""Common parts of both kinds: base of API types, rules between fields, pods' resources and templates, conditions."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, model_validator
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from trainserve.api.scalars.names import Annotations, LabelKey, LabelValue, UserLabelKey
from trainserve.api.scalars.quantity import Cores, Memory
from trainserve.api.scalars.values import MAX_COUNT, Timestamp


@dataclass(frozen=True)
class Rule:
    """A rule between the fields of one type, said twice: in CEL for servers that have it, and for the operator."""

    message: str
    cel: str
    holds: Callable[[Any], bool]


def exactly_one_of(*fields: str) -> Rule:
    """Return the rule that exactly one of these optional fields is set."""
    names = [to_camel(field) for field in fields]
    return Rule(
        message=f"exactly one of {', '.join(names)} must be set",
        cel=f"[{', '.join(f'has(self.{name})' for name in names)}].filter(x, x).size() == 1",
        holds=lambda value: sum(getattr(value, field) is not None for field in fields) == 1,
    )


def requires(field: str, *others: str) -> Rule:
    """Return the rule that one of `others` is set if the optional field `field` is."""
    name, names = to_camel(field), [to_camel(other) for other in others]
    return Rule(
        message=f"{name} can only be set together with {' or '.join(names)}",
        cel=f"!has(self.{name}) || {' || '.join(f'has(self.{other})' for other in names)}",
        holds=lambda value: getattr(value, field) is None or any(getattr(value, other) is not None for other in others),
    )


def stays_inside(field: str) -> Rule:
    """Return the rule that the path in the address `field` does not leave its root."""
    name = to_camel(field)
    return Rule(
        message=f"{name} must not contain '..' as a path segment",
        cel=rf"!has(self.{name}) || !self.{name}.matches(r'(^|/)[.][.](/|$)')",
        holds=lambda value: not re.search(r"(^|/)\.\.(/|$)", getattr(value, field) or ""),
    )


class ApiType(BaseModel):
    """Base of every API type: camelCase on the wire, unknown fields refused by name, no conversion between types."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        protected_namespaces=(),
    )

    rules: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="after")
    def _keep_rules(self) -> Self:
        broken = [rule.message for rule in self.rules if not rule.holds(self)]
        if broken:
            raise PydanticCustomError("rule", "{broken}", {"broken": "; ".join(broken)})
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return the schema with the rules as CEL, from which the CRDs are generated."""
        schema = handler(core_schema)
        if cls.rules:
            rules = [{"rule": rule.cel, "message": rule.message} for rule in cls.rules]
            handler.resolve_ref_schema(schema)["x-kubernetes-validations"] = rules
        return schema


class StatusType(ApiType):
    """Base of what the operator observed: like the API server, it drops what it does not know."""

    model_config = ConfigDict(extra="ignore")


class Toleration(ApiType):
    """A toleration, as in a Pod's spec."""

    key: LabelKey | None = Field(None, description="Key of the taint. Unset: every taint.", examples=["nvidia.com/gpu"])
    operator: Literal["Exists", "Equal"] | None = Field(
        None, description="Exists: any value of the taint is tolerated. Equal: only `value`. Unset: Equal."
    )
    value: LabelValue | None = Field(None, description="Value of the taint.", examples=["present"])
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        None, description="Effect of the taint. Unset: every effect."
    )
    toleration_seconds: int | None = Field(
        None,
        ge=0,
        le=MAX_COUNT,
        description="How long a pod stays on a node with a NoExecute taint. Unset: for ever.",
        examples=[300],
        json_schema_extra={"unit": "seconds"},
    )

    # https://github.com/kubernetes/kubernetes/blob/v1.20.2/pkg/apis/core/validation/validation.go (ValidateTolerations)
    rules = (
        Rule(
            message="operator must be Exists where key is unset",
            cel="has(self.key) || (has(self.operator) && self.operator == 'Exists')",
            holds=lambda toleration: toleration.key is not None or toleration.operator == "Exists",
        ),
        Rule(
            message="value must be unset where operator is Exists",
            cel="!has(self.operator) || self.operator != 'Exists' || !has(self.value) || self.value == ''",
            holds=lambda toleration: toleration.operator != "Exists" or not toleration.value,
        ),
        Rule(
            message="tolerationSeconds can only be set where effect is NoExecute",
            cel="!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
            holds=lambda toleration: toleration.toleration_seconds is None or toleration.effect == "NoExecute",
        ),
    )


class Gpu(ApiType):
    """Which GPU will do; matched against the labels that GPU feature discovery sets."""

    product: list[str] | None = Field(
        None,
        min_length=1,
        max_length=64,
        description="Accepted values of the node label nvidia.com/gpu.product.",
        examples=[["NVIDIA-H200"]],
    )
    min_memory: Memory | None = Field(
        None,
        description="Least memory of one GPU (nvidia.com/gpu.memory).",
        examples=["80Gi"],
        json_schema_extra={"unit": "bytes"},
    )
    mig: str | None = Field(
        None,
        pattern=r"^[0-9]+g\.[0-9]+gb$",
        description="MIG profile instead of whole GPUs, such as 1g.10gb.",
        examples=["1g.10gb"],
    )


class Resources(ApiType):
    """Resources of one pod."""

    gpus: int = Field(
        0,
        ge=0,
        le=16,
        description="GPUs of one pod (nvidia.com/gpu).",
        examples=[1],
        json_schema_extra={"unit": "GPUs"},
    )
    gpu: Gpu | None = Field(None, description="Which GPU will do. Unset: any.")
    cpu: Cores | None = Field(
        None,
        description="CPU cores, as request and limit. Unset: the operator's default (chart value pods.resources).",
        examples=["2"],
        json_schema_extra={"unit": "cores"},
    )
    memory: Memory | None = Field(
        None,
        description="Memory, as request and limit. Unset: the operator's default.",
        examples=["4Gi"],
        json_schema_extra={"unit": "bytes"},
    )
    node_selector: dict[LabelKey, LabelValue] | None = Field(
        None,
        max_length=64,
        description="Labels that the node must have.",
        examples=[{"topology.kubernetes.io/zone": "eu-1a"}],
    )
    tolerations: list[Toleration] | None = Field(None, max_length=64, description="Taints that the pods tolerate.")

    rules = (
        Rule(
            message="gpu can only be set where gpus is at least 1",
            cel="!has(self.gpu) || self.gpus > 0",
            holds=lambda resources: resources.gpu is None or resources.gpus > 0,
        ),
    )


class ContainerSecurity(ApiType):
    """Loosens how the containers run whose image may be the user's own: `trainer` and `triton`. The namespace's Pod
    Security decides whether such a pod is taken."""

    read_only_root_filesystem: bool | None = Field(
        None,
        description="false: the containers may also write outside of /tmp and their other volumes. Unset: true.",
    )
    run_as_user: int | None = Field(
        None,
        ge=0,
        le=MAX_COUNT,
        description="User and group as which the containers run; 0: root. Unset: 65532, and 1000 for Triton.",
        examples=[1000],
    )


class PodTemplate(ApiType):
    """Additions to every pod of this object, named as in a Pod."""

    labels: dict[UserLabelKey, LabelValue] | None = Field(
        None,
        max_length=64,
        description="Labels of the pods, such as kueue.x-k8s.io/queue-name. Names under trainserve.io, and "
        "app.kubernetes.io/managed-by, are the operator's own.",
        examples=[{"kueue.x-k8s.io/queue-name": "team-a"}],
    )
    annotations: Annotations | None = Field(
        None,
        description="Annotations of the pods, such as sidecar.istio.io/inject. The operator's own names are the same.",
        examples=[{"sidecar.istio.io/inject": "false"}],
    )
    security_context: ContainerSecurity | None = None


class Condition(StatusType):
    """A condition as in Kubernetes' metav1.Condition."""

    type: str = Field(description="Name of the condition.", examples=["Ready"])
    status: Literal["True", "False", "Unknown"] = Field(description="Whether the condition holds.")
    reason: str = Field(description="Why it has that status, in one word.", examples=["Verified"])
    message: str = Field(description="Why it has that status, in a sentence.", examples=["64 samples match"])
    last_transition_time: Timestamp = Field(
        description="When the status last changed.", examples=["2026-11-22T16:00:00Z"]
    )
    observed_generation: int | None = Field(
        None, description="metadata.generation of the spec for which the condition was decided.", examples=[1]
    )


Conditions = Annotated[
    list[Condition],
    Field(json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}),
]
"""One condition per type, as server-side apply should merge them."""
