from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from google.protobuf import text_format

from trainserve.serving.repository import Settings, UnservableModel, config_text, labelled_output, model_config, write
from trainserve.serving.servable import Servable
from trainserve.store import Tensor


@pytest.fixture(scope="module")
def model(fetched: Path) -> Servable:
    return Servable.of_version(fetched / "version")


def test_config_names_the_official_backend_and_leaves_out_the_batch_axis(model: Servable) -> None:
    config = model_config("digits", model, Settings(max_batch=48))
    assert config.backend == "onnxruntime"
    assert config.max_batch_size == 48
    assert [(each.name, each.data_type, list(each.dims)) for each in config.input] == [("images", 2, [28, 28, 1])]
    assert [(each.name, list(each.dims), each.label_filename) for each in config.output] == [
        ("probabilities", [10], "labels.txt")
    ]
    assert config.parameters["intra_op_thread_count"].string_value == "1"


@pytest.mark.parametrize(
    ("settings", "kind", "count", "delay"),
    [
        (Settings(), "KIND_CPU", 1, 0),
        (Settings(instances=3), "KIND_CPU", 3, 0),
        (Settings(gpus=2), "KIND_GPU", 1, 0),
        (Settings(max_queue_delay_us=250), "KIND_CPU", 1, 250),
    ],
)
def test_settings_become_instances_and_batching(
    model: Servable, settings: Settings, kind: str, count: int, delay: int
) -> None:
    config = model_config("digits", model, settings)
    (group,) = config.instance_group
    assert (group.Kind.Name(group.kind), group.count) == (kind, count)
    assert config.HasField("dynamic_batching")
    assert config.dynamic_batching.max_queue_delay_microseconds == delay


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
    config = model_config('a"name\nwith everything', model, Settings(max_queue_delay_us=100))
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
    assert labelled_output(replace(model, outputs=outputs)) == "probabilities"
    assert labelled_output(replace(model, labels=("a", "b"))) is None


def test_writing_again_replaces_the_repository_as_a_whole(fetched: Path, model: Servable) -> None:
    models = fetched / "again"
    write(model, models, "old", Settings())
    write(model, models, "new", Settings())
    files = sorted(str(path.relative_to(models)) for path in models.rglob("*") if path.is_file())
    assert files == ["new/1/model.onnx", "new/config.pbtxt", "new/labels.txt"]


def test_a_label_with_a_line_break_stays_one_line(fetched: Path, model: Servable) -> None:
    labelled = replace(model, labels=("a\nb", *model.labels[1:]))
    folder = write(labelled, fetched / "labels", "digits", Settings())
    assert (folder / "labels.txt").read_text().splitlines()[:2] == ["a b", "one"]
