"""The text of a model configuration. Effects of each field on a running server: test_configured_server.py."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format

from trainserve.client import binary
from trainserve.serving.protocol.triton_types import DTYPES, UnservableModel
from trainserve.serving.repository.model_config import config_text, model_config
from trainserve.serving.repository.settings import InvalidSettings, Settings
from trainserve.serving.sources.servable import Servable
from trainserve.store import Tensor


@pytest.fixture(scope="module")
def model(fetched: Path) -> Servable:
    return Servable.of_version(fetched / "version")


def test_the_data_types_are_those_of_the_client() -> None:
    assert {name: dtype.name for name, dtype in binary.TYPES.items()} == DTYPES


def settings(**fields: Any) -> Settings:
    return Settings.model_validate(fields)


def test_it_names_the_official_backend_and_leaves_out_the_batch_axis(model: Servable) -> None:
    config = model_config("digits", model, settings(dynamicBatching={"maxBatch": 48}))
    assert config.backend == "onnxruntime"
    assert config.max_batch_size == 48
    assert [(each.name, each.data_type, list(each.dims)) for each in config.input] == [("images", 2, [28, 28, 1])]
    assert [(each.name, list(each.dims), each.label_filename) for each in config.output] == [
        ("probabilities", [10], "labels.txt")
    ]
    assert config.parameters["intra_op_thread_count"].string_value == "1"


@pytest.mark.parametrize(
    ("fields", "gpus", "kind", "count", "delay"),
    [
        ({}, 0, "KIND_CPU", 1, 0),
        ({"instances": 3}, 0, "KIND_CPU", 3, 0),
        ({}, 2, "KIND_GPU", 1, 0),
        ({"dynamicBatching": {"maxQueueDelay": "250us"}}, 0, "KIND_CPU", 1, 250),
    ],
)
def test_settings_become_instances_and_batching(
    model: Servable, fields: dict[str, Any], gpus: int, kind: str, count: int, delay: int
) -> None:
    config = model_config("digits", model, settings(**fields), gpus=gpus)
    (group,) = config.instance_group
    assert (group.Kind.Name(group.kind), group.count) == (kind, count)
    assert config.HasField("dynamic_batching")
    assert config.dynamic_batching.max_queue_delay_microseconds == delay


def test_a_full_or_late_queue_rejects(model: Servable) -> None:
    config = model_config("digits", model, settings(dynamicBatching={"queue": {"size": 8, "timeout": "50ms"}}))
    policy = config.dynamic_batching.default_queue_policy
    assert (policy.max_queue_size, policy.default_timeout_microseconds) == (8, 50_000)
    assert policy.TimeoutAction.Name(policy.timeout_action) == "REJECT"


def test_requests_without_a_priority_get_the_last_one(model: Servable) -> None:
    config = model_config("digits", model, settings(priorities={"levels": 3}))
    assert (config.dynamic_batching.priority_levels, config.dynamic_batching.default_priority_level) == (3, 3)


def test_a_fixed_batch_is_served_as_it_is(model: Servable) -> None:
    fixed = replace(
        model,
        inputs=(Tensor(name="images", dtype="uint8", shape=[4, 28, 28, 1]),),
        outputs=(Tensor(name="probabilities", dtype="float32", shape=[4, 10]),),
    )
    config = model_config("digits", fixed, Settings())
    assert config.max_batch_size == 0
    assert not config.HasField("dynamic_batching")
    assert list(config.input[0].dims) == [4, 28, 28, 1]


def test_the_text_is_read_back_as_the_same_message(model: Servable) -> None:
    config = model_config('a"name\nwith everything', model, settings(dynamicBatching={"maxQueueDelay": "100us"}))
    assert text_format.Parse(config_text(config), type(config)()) == config


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (Tensor(name="images", dtype="complex64", shape=[-1, 2]), "tensor images: dtype complex64 is not one of"),
        (Tensor(name="images", dtype="uint8", shape=[-1, 0]), r"tensor images: shape \[-1, 0\]"),
    ],
)
def test_what_triton_cannot_serve_is_refused_by_name(model: Servable, tensor: Tensor, words: str) -> None:
    with pytest.raises(UnservableModel, match=words):
        model_config("digits", replace(model, inputs=(tensor,)), Settings())


def test_labels_belong_to_the_output_with_one_value_each(model: Servable) -> None:
    outputs = (Tensor(name="features", dtype="float32", shape=[-1, 128]), *model.outputs)
    assert replace(model, outputs=outputs).labelled_output == "probabilities"
    assert replace(model, labels=("a", "b")).labelled_output is None


def test_tensorrt_on_gpus_gets_a_profile_of_every_batch_it_may_see(model: Servable) -> None:
    config = model_config(
        "digits", model, settings(tensorRT={"precision": "fp16"}, dynamicBatching={"maxBatch": 8}), gpus=1
    )
    (accelerator,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert (accelerator.name, dict(accelerator.parameters)) == (
        "tensorrt",
        {
            "precision_mode": "FP16",
            "trt_profile_min_shapes": "images:1x28x28x1",
            "trt_profile_opt_shapes": "images:8x28x28x1",
            "trt_profile_max_shapes": "images:8x28x28x1",
        },
    )


def test_tensorrt_without_a_gpu_is_refused_with_the_reason(model: Servable) -> None:
    with pytest.raises(InvalidSettings, match=r"settings\.tensorRT: needs a GPU; this server has none"):
        model_config("digits", model, settings(tensorRT={"precision": "fp16"}))


def test_tensorrt_in_int8_takes_only_a_graph_that_is_quantized(model: Servable) -> None:
    wanted = settings(tensorRT={"precision": "int8"})
    with pytest.raises(InvalidSettings, match="int8 needs a graph that was exported with precision int8"):
        model_config("digits", model, wanted, gpus=1)
    assert model.manifest is not None
    quantized = replace(model, manifest=model.manifest.model_copy(update={"precision": "int8"}))
    (accelerator,) = model_config(
        "digits", quantized, wanted, gpus=1
    ).optimization.execution_accelerators.gpu_execution_accelerator
    assert accelerator.parameters["precision_mode"] == "INT8"


def test_a_version_that_is_not_there_cannot_be_chosen(model: Servable) -> None:
    with pytest.raises(InvalidSettings, match="no version 2 of model digits is in the repository; there: 1, 3"):
        model_config("digits", model, settings(versionPolicy=[1, 2]), versions=[1, 3])


def overridden(model: Servable, fields: dict[str, Any]) -> Any:
    return model_config("digits", model, settings(overrides=fields))


def test_overrides_win_and_leave_the_rest(model: Servable) -> None:
    config = overridden(
        model,
        {
            "max_batch_size": 0,
            "instanceGroup": [{"count": 2, "kind": "KIND_CPU"}],
            "parameters": {"execution_mode": {"string_value": "1"}},
            "dynamic_batching": {"preserve_ordering": True},
        },
    )
    assert config.max_batch_size == 0
    assert [group.count for group in config.instance_group] == [2]
    assert {key: value.string_value for key, value in config.parameters.items()} == {
        "intra_op_thread_count": "1",
        "execution_mode": "1",
    }
    assert config.dynamic_batching.preserve_ordering
    assert config.backend == "onnxruntime"


def test_warm_up_keeps_to_an_overridden_batch(model: Servable) -> None:
    config = model_config("digits", model, settings(warmup=True, overrides={"max_batch_size": 4}))
    assert [each.batch_size for each in config.model_warmup] == [1, 4]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"max_batch": 8}, 'has no field named "max_batch" at "ModelConfig"'),
        ({"dynamic_batching": {"delay": 1}}, 'has no field named "delay" at "ModelConfig.dynamic_batching"'),
        ({"instance_group": [{"kind": "KIND_TPU"}]}, r"Invalid enum value KIND_TPU .*instance_group\[0\].kind"),
        ({"max_batch_size": "many"}, "max_batch_size field: invalid literal"),
        ({"name": "letters"}, "settings.overrides.name: cannot be set"),
    ],
)
def test_an_override_that_is_no_field_is_refused_by_its_name(
    model: Servable, fields: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidSettings, match=words):
        overridden(model, fields)
