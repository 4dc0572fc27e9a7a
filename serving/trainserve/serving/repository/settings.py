"""How a model is served: the fields of a ModelServe's `spec.triton`, of `--settings FILE` and of a tuner's answer.

One model for all of them, in the wire's names. What the fields mean to Triton is `model_config`'s subject; whether
they go together with a given model is told there too.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from trainserve.api.triton import BatchAxis

_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(us|ms|s|m|h)")
_MICROSECONDS = {"us": 1, "ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000}

CACHE_BYTES = 64 * 2**20
"""Size of a server's response cache, where any of its models asks for one."""


class InvalidSettings(ValueError):
    """Settings that nobody can follow, or that this model or machine cannot; the message names the field."""


def microseconds(duration: str) -> int:
    """Whole microseconds, Triton's unit, of a duration such as 500us or 1.5ms; a part of one counts as one."""
    found = _DURATION.fullmatch(duration)
    if not found:
        raise ValueError(f"{duration!r} is not a duration such as 500us, 20ms or 1.5s")
    return int((Decimal(found[1]) * _MICROSECONDS[found[2]]).to_integral_value(rounding="ROUND_CEILING"))


def _is_duration(value: str) -> str:
    microseconds(value)
    return value


def _up_to_a_second(value: str) -> str:
    if microseconds(value) > 1_000_000:
        raise ValueError("must be at most 1s")
    return value


Duration = Annotated[str, AfterValidator(_is_duration)]
ResourceName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]


class _Part(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", strict=True, frozen=True)


class Queue(_Part):
    """How long a line may get. A request that finds it full, or waits longer than `timeout`, is refused with 503."""

    size: int = Field(0, ge=0, le=1_000_000, description="Requests that may wait; 0 is any number.")
    timeout: Duration | None = Field(None, description="How long a request may wait. Unset: for ever.")


class DynamicBatching(_Part):
    """How requests are gathered into batches."""

    max_batch: int = Field(64, ge=1, le=4096, description="Most samples in one batch.")
    preferred_batch_sizes: list[Annotated[int, Field(ge=1, le=4096)]] | None = Field(
        None, min_length=1, max_length=64, description="Sizes that are run at once when reached. Unset: maxBatch."
    )
    max_queue_delay: Annotated[Duration, AfterValidator(_up_to_a_second)] | None = Field(
        None, description="How long a request may wait for company, at most 1s. Unset: not at all."
    )
    queue: Queue = Queue()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.preferred_batch_sizes and max(self.preferred_batch_sizes) > self.max_batch:
            raise ValueError("preferredBatchSizes must be at most maxBatch")
        return self


class Priorities(_Part):
    """Level 1 is served first. A request names its level in its parameter `priority`."""

    levels: int = Field(ge=1, le=100)
    default: int | None = Field(None, ge=1, description="Of a request that names none. Unset: the last one.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.default is not None and self.default > self.levels:
            raise ValueError("default must be at most levels")
        return self


class TensorRT(_Part):
    """Run the graph with TensorRT on GPUs. int8 takes a graph that is quantized itself (export.precision: int8)."""

    precision: Literal["fp32", "fp16", "int8"] = "fp32"


class RateLimiter(_Part):
    """What an instance holds while it runs, of resources that all models of a server share."""

    resources: dict[ResourceName, Annotated[int, Field(ge=1, le=1_000_000)]] = Field(
        default_factory=dict,
        max_length=64,
        description="Name to count. As much of each is there as the greediest instance holds.",
    )
    priority: int = Field(1, ge=1, le=1_000_000, description="2 runs half as often as 1 when both wait.")


class Ensemble(_Part):
    """Beside the model, `<name>-ensemble`: raw images in, the likeliest labels and their scores out."""

    top: int = Field(1, ge=1, le=1000, description="Labels of each image, the likeliest first.")
    softmax: bool = Field(False, description="The model gives logits: make probabilities of them.")


class Settings(_Part):
    """How one model is served."""

    instances: int = Field(1, ge=1, le=64, description="Model instances, per pod or per GPU.")
    threads: int = Field(1, ge=1, le=256, description="Threads inside one operator, of each instance.")
    batch_axis: BatchAxis = Field(
        "auto",
        description="Where requests are joined: auto, along the first axis if every answer is proven to depend on its "
        "own row alone; first, on your word; none.",
    )
    dynamic_batching: DynamicBatching = DynamicBatching()
    priorities: Priorities | None = None
    warmup: bool = Field(False, description="Run recorded samples, at batch 1 and maxBatch, before the server is ready")
    response_cache: bool = Field(False, description="Answer repeated requests from memory.")
    tensor_rt: TensorRT | None = Field(None, alias="tensorRT")
    rate_limiter: RateLimiter | None = None
    version_policy: Literal["latest", "all"] | list[Annotated[int, Field(ge=1)]] = Field(
        "latest", description="Which versions are served where a repository holds several."
    )
    ensemble: Ensemble | None = None
    overrides: dict[str, Any] = Field(
        default_factory=dict, description="Fields of Triton's ModelConfig, in its JSON form; they win."
    )

    @classmethod
    def of_json(cls, text: str) -> Settings:
        """Of the JSON that an operator passes to a pod. Raises InvalidSettings."""
        return _checked(lambda: cls.model_validate_json(text))

    @classmethod
    def of_file(cls, path: Path) -> Settings:
        """Of a YAML or JSON file. Raises OSError, InvalidSettings."""
        import yaml

        try:
            content = yaml.safe_load(path.read_bytes())
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise InvalidSettings(f"{path}: {' '.join(str(error).split())}") from None
        return _checked(lambda: cls.model_validate({} if content is None else content))


def cautions(settings: Settings) -> list[str]:
    """What follows from these settings that nobody would expect; docs/serving.md has the figures.

    Since 24.04 Triton's batcher, where a queue has bounds or priorities, is woken by nothing but the next request that
    is accepted while an instance is idle, else twice a second (triton-inference-server/core,
    src/dynamic_batch_scheduler.cc, WaitForPayloadSlotAvailable).
    """
    queue, found = settings.dynamic_batching.queue, []
    sleepy = queue.size or queue.timeout or settings.priorities
    field = "priorities" if settings.priorities else "dynamicBatching.queue"
    if queue.size:
        found.append(
            "settings.dynamicBatching.queue.size: a full queue wakes Triton's batcher twice a second only, and until"
            " then nothing runs; bound the wait with queue.timeout, and let size be more than arrives within it"
        )
    if settings.instances == 1 and sleepy:
        found.append(
            f"settings.{field}: with one instance a request may wait half a second though nothing runs, because"
            " Triton's batcher sleeps; 2 instances make that rare, 3 rarer still"
        )
    if settings.dynamic_batching.max_queue_delay and sleepy:
        found.append(
            f"settings.dynamicBatching.maxQueueDelay: together with {field} it may cost ever more throughput, until the"
            " model is loaded anew, on a Triton without triton-inference-server/core#509 (summer of 2026)"
        )
    return found


def _checked(read: Callable[[], Settings]) -> Settings:
    try:
        return read()
    except ValidationError as error:
        lines = []
        for each in error.errors(include_url=False):
            field = ".".join(["settings", *(str(part) for part in each["loc"])])
            lines.append(f"{field}: {each['msg'].removeprefix('Value error, ')}")
        raise InvalidSettings("; ".join(lines)) from None
