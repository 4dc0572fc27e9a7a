"""The settings of a model server, each defined once, for `spec.triton` of a ModelServe and serving's own settings."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field

from trainserve.api.base import ApiType, Rule
from trainserve.api.open_fields import Overrides
from trainserve.api.scalars.duration import UP_TO_A_SECOND, Duration
from trainserve.api.scalars.values import MAX_COUNT

MAX_BATCH = 4096

ResourceName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]


BatchAxis = Literal["auto", "first", "none"]


class Queue(ApiType):
    """Bounds of the queue: a request too many, or one that waited too long, is refused with 503 instead of making all
    others late."""

    size: int = Field(
        0,
        ge=0,
        le=1_000_000,
        description="Requests that may wait; 0: any number.",
        examples=[256],
        json_schema_extra={"unit": "requests"},
    )
    timeout: Duration | None = Field(
        None,
        description="Longest time that a request may wait. Unset: no limit.",
        examples=["100ms"],
        json_schema_extra={"unit": "duration"},
    )


class DynamicBatching(ApiType):
    """Gathering of single requests into batches by Triton."""

    max_batch: int = Field(
        64, ge=1, le=MAX_BATCH, description="Largest batch.", examples=[16], json_schema_extra={"unit": "samples"}
    )
    preferred_batch_sizes: list[Annotated[int, Field(ge=1, le=MAX_BATCH)]] | None = Field(
        None,
        min_length=1,
        max_length=64,
        description="Batch sizes that are run at once when they are reached. Unset: maxBatch.",
        examples=[[8, 16]],
        json_schema_extra={"unit": "samples"},
    )
    max_queue_delay: Duration | None = Field(
        None,
        description="Longest time that a request may wait for others to join its batch, at most 1s. Unset: it does "
        "not wait.",
        examples=["500us"],
        json_schema_extra={"unit": "duration"},
    )
    queue: Queue = Queue()

    rules = (
        Rule(
            message="maxQueueDelay must be at most 1s, written in us, ms or s",
            cel=f"!has(self.maxQueueDelay) || self.maxQueueDelay.matches('{UP_TO_A_SECOND}')",
            holds=lambda batching: (
                batching.max_queue_delay is None or re.search(UP_TO_A_SECOND, batching.max_queue_delay) is not None
            ),
        ),
        Rule(
            message="preferredBatchSizes must not be greater than maxBatch",
            cel="!has(self.preferredBatchSizes) || self.preferredBatchSizes.all(size, size <= self.maxBatch)",
            holds=lambda batching: max(batching.preferred_batch_sizes or [0]) <= batching.max_batch,
        ),
    )


class Priorities(ApiType):
    """Level 1 is served first. A request names its level in its parameter `priority`."""

    levels: int = Field(ge=1, le=100, description="Number of priority levels.", examples=[3])
    default: int | None = Field(
        None, ge=1, le=MAX_COUNT, description="Level of a request that names none. Unset: the last.", examples=[2]
    )

    rules = (
        Rule(
            message="default must not be greater than levels",
            cel="!has(self.default) || self.default <= self.levels",
            holds=lambda priorities: priorities.default is None or priorities.default <= priorities.levels,
        ),
    )


class TensorRt(ApiType):
    """Run the graph with TensorRT, which builds its engines when the server starts. int8 takes a graph that is
    quantised itself (export.precision: int8)."""

    precision: Literal["fp32", "fp16", "int8"] = Field(
        "fp32", description="Precision in which TensorRT may compute.", examples=["fp16"]
    )


class RateLimiter(ApiType):
    """Shared resources that an instance holds while it runs."""

    resources: dict[ResourceName, Annotated[int, Field(ge=1, le=1_000_000)]] = Field(
        default_factory=dict,
        max_length=64,
        description="Amount of each resource, by name. Available of each is as much as one instance holds.",
        examples=[{"memory": 2}],
    )
    priority: int = Field(
        1,
        ge=1,
        le=1_000_000,
        description="Weight of the model when several wait: 2 runs half as often as 1.",
        examples=[2],
    )


class Ensemble(ApiType):
    """Beside the model, `<name>-ensemble`: raw images in, the likeliest labels and their scores out."""

    top: int = Field(
        1, ge=1, le=1000, description="Number of labels returned for each image, the most probable first.", examples=[3]
    )
    softmax: bool = Field(
        False, description="Convert the model's outputs, which are logits, to probabilities.", examples=[True]
    )


class ServedModel(ApiType):
    """Serving settings of one model."""

    instances: int = Field(1, ge=1, le=64, description="Model instances per pod; with GPUs, per GPU.", examples=[2])
    threads: int = Field(
        1, ge=1, le=256, description="Threads of one instance, within one operator of the graph.", examples=[4]
    )
    batch_axis: BatchAxis = Field(
        "auto",
        description="How requests are batched. auto: along the first axis if every answer is proven to depend on its "
        "own row alone. first: along the first axis, without that proof. none: not at all.",
        examples=["first"],
    )
    dynamic_batching: DynamicBatching = DynamicBatching()
    priorities: Priorities | None = None
    warmup: bool = Field(
        False, description="Send recorded samples through the model, alone and in a full batch, before it is ready."
    )
    response_cache: bool = Field(False, description="Answer repeated requests from memory.")
    tensor_rt: TensorRt | None = Field(None, alias="tensorRT")
    rate_limiter: RateLimiter | None = None
    ensemble: Ensemble | None = None
    overrides: Overrides = Field(
        default_factory=dict,
        description="Fields of Triton's ModelConfig in its JSON form; they override what TrainServe writes. The "
        "server checks them.",
        examples=[{"parameters": {"session.use_device_allocator_for_initializers": {"string_value": "1"}}}],
    )


class Triton(ServedModel):
    """Settings of the server."""

    image: str | None = Field(
        None,
        min_length=1,
        description="Container image of the server. Unset: the operator's default image.",
        examples=["nvcr.io/nvidia/tritonserver:26.08-py3"],
    )

    def settings_json(self) -> str:
        """Return the settings that are passed to a pod, as JSON: all but the image and a batch axis at its default.

        The default is left out so that the pods of a ModelServe that does not set it stay unchanged.
        """
        left_out = {"image", "batch_axis"} if self.batch_axis == "auto" else {"image"}
        return self.model_dump_json(by_alias=True, exclude_none=True, exclude=left_out)
