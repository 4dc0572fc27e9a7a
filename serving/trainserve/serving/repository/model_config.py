"""Triton's ModelConfig for a model and its settings, built from protobuf messages, never from text.

(https://github.com/triton-inference-server/common/blob/main/protobuf/model_config.proto)
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from google.protobuf import json_format, text_format  # type: ignore[import-untyped]

from trainserve.api import latency_buckets
from trainserve.api.scalars.duration import microseconds
from trainserve.serving.protocol.triton_types import described, messages
from trainserve.serving.repository.settings import InvalidSettings, Settings
from trainserve.serving.sources.servable import Servable

LABELS = "labels.txt"


def model_config(
    name: str,
    model: Servable,
    settings: Settings,
    *,
    gpus: int = 0,
    versions: Collection[int] = (1,),
    buckets: Sequence[float] = (),
) -> Any:
    """Return the ModelConfig of a model served as `name` by a server with `gpus`.

    Requests are batched up to `maxBatch` if `model` is batched (Servable.batching). `versions` are those of the model
    in the repository, `buckets` those of `histogram`. Raises UnservableModel, InvalidSettings.
    """
    model = asked(model, settings)
    pb = messages()
    config = pb.ModelConfig(
        name=name,
        backend="onnxruntime",
        max_batch_size=settings.dynamic_batching.max_batch if model.batched else 0,
        input=[pb.ModelInput(**described(tensor, batched=model.batched)) for tensor in model.inputs],
        output=[pb.ModelOutput(**described(tensor, batched=model.batched)) for tensor in model.outputs],
        instance_group=[instance_group(settings.instances, gpus)],
    )
    if model.graph != "model.onnx":
        config.default_model_filename = model.graph
    config.parameters["intra_op_thread_count"].string_value = str(settings.threads)
    _queue(config, model, settings)
    _versions(config, settings, versions)
    if settings.response_cache:
        config.response_cache.enable = True
    if settings.rate_limiter is not None:
        limiter = config.instance_group[0].rate_limiter
        limiter.priority = settings.rate_limiter.priority
        for resource, count in settings.rate_limiter.resources.items():
            limiter.resources.add(name=resource, count=count)
    if settings.tensor_rt is not None:
        _tensor_rt(config, model, settings.tensor_rt.precision, gpus)
    for output in config.output:
        if output.name == model.labelled_output:
            output.label_filename = LABELS
    histogram(config, buckets)
    _override(config, settings.overrides)
    if settings.warmup and not config.model_warmup:
        from trainserve.serving.repository import warmup  # imports numpy, which takes time

        warmup.add(config, model, warmup.sample(model))
    return config


def asked(model: Servable, settings: Settings) -> Servable:
    """Return the model with its settings' batchAxis. Raises InvalidSettings if its shapes rule that out."""
    if settings.batch_axis == "first" and model.unbatchable:
        raise InvalidSettings(f"settings.batchAxis: first is not possible: {model.unbatchable}")
    return model.asked(settings.batch_axis)


def instance_group(count: int, gpus: int) -> Any:
    """Return a group of `count` instances on each GPU, or on the CPU of a server without GPUs."""
    group = messages().ModelInstanceGroup
    return group(count=count, kind=group.KIND_GPU if gpus else group.KIND_CPU)


def histogram(config: Any, buckets: Sequence[float]) -> None:
    """Set the bounds of the model's latency histogram, in milliseconds.

    Without `buckets` nothing is set, as the server may be too old for that setting.
    (https://github.com/triton-inference-server/server/blob/main/docs/user_guide/metrics.md#histograms)
    """
    if buckets:
        control = config.model_metrics.metric_control.add()
        control.metric_identifier.family = latency_buckets.TRITON
        control.histogram_options.buckets.extend(buckets)


def config_text(config: Any) -> str:
    """Return the content of config.pbtxt."""
    return str(text_format.MessageToString(config))


def _queue(config: Any, model: Servable, settings: Settings) -> None:
    batching, priorities = settings.dynamic_batching, settings.priorities
    queued = batching.queue.size or batching.queue.timeout or priorities
    if not model.batched and not queued:
        return
    config.dynamic_batching.SetInParent()
    if model.batched:
        config.dynamic_batching.preferred_batch_size.extend(batching.preferred_batch_sizes or ())
        if batching.max_queue_delay is not None:
            config.dynamic_batching.max_queue_delay_microseconds = microseconds(batching.max_queue_delay)
    if batching.queue.size or batching.queue.timeout:
        policy = config.dynamic_batching.default_queue_policy
        policy.timeout_action = messages().ModelQueuePolicy.REJECT
        policy.max_queue_size = batching.queue.size
        if batching.queue.timeout is not None:
            policy.default_timeout_microseconds = microseconds(batching.queue.timeout)
    if priorities is not None:
        config.dynamic_batching.priority_levels = priorities.levels
        config.dynamic_batching.default_priority_level = priorities.default or priorities.levels


def _versions(config: Any, settings: Settings, versions: Collection[int]) -> None:
    wanted = settings.version_policy
    if wanted == "all":
        config.version_policy.all.SetInParent()
    elif isinstance(wanted, list):
        if missing := sorted(set(wanted) - set(versions)):
            raise InvalidSettings(
                f"settings.versionPolicy: no version {', '.join(map(str, missing))} of model {config.name} is in the "
                f"repository; there: {', '.join(map(str, sorted(versions)))}"
            )
        config.version_policy.specific.versions.extend(wanted)


def _tensor_rt(config: Any, model: Servable, precision: str, gpus: int) -> None:
    """Set up TensorRT; keys are in github.com/triton-inference-server/onnxruntime_backend, README.md."""
    if not gpus:
        raise InvalidSettings("settings.tensorRT: needs a GPU; this server has none, and TensorRT does not run on CPUs")
    if precision == "int8" and (model.manifest is None or model.manifest.precision != "int8"):
        raise InvalidSettings(
            "settings.tensorRT.precision: int8 needs a graph that was exported with precision int8, whose own "
            "quantization TensorRT follows; fp32 and fp16 take any"
        )
    accelerator = config.optimization.execution_accelerators.gpu_execution_accelerator.add(name="tensorrt")
    accelerator.parameters["precision_mode"] = precision.upper()
    shapes = [tensor.shape for tensor in model.inputs]
    if model.batched and not any(size == -1 for shape in shapes for size in shape[1:]):
        # Without a profile TensorRT rebuilds its engine, for seconds, whenever a larger batch arrives
        # (https://onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider.html, dynamic shapes).
        for bound, batch in (("min", 1), ("opt", config.max_batch_size), ("max", config.max_batch_size)):
            profile = [f"{tensor.name}:{'x'.join(map(str, [batch, *tensor.shape[1:]]))}" for tensor in model.inputs]
            accelerator.parameters[f"trt_profile_{bound}_shapes"] = ",".join(profile)


def _override(config: Any, overrides: Mapping[str, Any]) -> None:
    """Merge `overrides` (protobuf's JSON form, names as in the .proto or in camelCase) into a ModelConfig.

    Messages and maps are merged, lists replaced; null clears a field. Unknown fields are refused; whether the server
    accepts the result is checked with `devserver.config_check`. Raises InvalidSettings.
    """
    given = dict(overrides)
    if "name" in given:
        raise InvalidSettings("settings.overrides.name: cannot be set; a model's name is given where it is served")
    for field in config.DESCRIPTOR.fields:
        for name in (field.name, field.json_name):
            if (
                field.message_type
                and field.message_type.GetOptions().map_entry
                and isinstance(given.get(name), Mapping)
            ):
                # Otherwise one overridden parameter would drop those of the other settings.
                given[name] = json_format.MessageToDict(config).get(field.json_name, {}) | dict(given[name])
    try:
        json_format.ParseDict(given, config)
    except json_format.ParseError as error:
        first, *_ = str(error).splitlines()
        raise InvalidSettings(f"settings.overrides: {first}") from None
