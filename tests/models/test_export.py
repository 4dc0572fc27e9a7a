"""The exported graph: raw images in, any batch, nothing of this machine inside, and what parity catches."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from trainserve.models import data, parity, zoo
from trainserve.models.config import Parity, parse
from trainserve.models.data.dataset import Dataset
from trainserve.models.errors import ParityFailed
from trainserve.models.export import export
from trainserve.models.network import Network

from .conftest import FinishedRun


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return data.load(parse({"model": {"name": "convnet"}, "dataset": {"name": "digits"}}).dataset, seed=0)


@pytest.fixture
def session(digits_run: FinishedRun) -> Any:
    return onnxruntime.InferenceSession(digits_run.version / "model.onnx", providers=["CPUExecutionProvider"])


def samples(digits_run: FinishedRun) -> tuple[Any, Any]:
    with np.load(digits_run.version / "samples.npz") as content:
        return content["images"], content["probabilities"]


@pytest.mark.parametrize("batch", [1, 2, 7, 64])
def test_the_graph_takes_raw_images_in_any_batch(session: Any, digits_run: FinishedRun, batch: int) -> None:
    images, expected = samples(digits_run)
    (found,) = session.run(["probabilities"], {"images": images[:batch]})
    assert found == pytest.approx(expected[:batch], rel=1e-3, abs=1e-5)


def test_the_graph_wants_uint8_and_a_named_batch_axis(session: Any) -> None:
    (given,), (made,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.type, given.shape) == ("images", "tensor(uint8)", ["batch", 28, 28, 1])
    assert (made.name, made.type, made.shape) == ("probabilities", "tensor(float)", ["batch", 10])


def test_labels_and_preprocessing_travel_in_the_file(session: Any) -> None:
    properties = session.get_modelmeta().custom_metadata_map
    assert json.loads(properties["labels"]) == [str(digit) for digit in range(10)]
    assert json.loads(properties["preprocessing"])["scale"] == pytest.approx(1 / 255)


def test_nothing_of_this_machine_is_in_the_file(digits_run: FinishedRun) -> None:
    content = (digits_run.version / "model.onnx").read_bytes()
    for trace in (b".py", b"stack_trace", b"site-packages", b"File ", os.fsencode(Path.cwd()), b"trainserve"):
        assert trace not in content


def test_weights_are_inside_and_versions_load_everywhere(digits_run: FinishedRun) -> None:
    model = onnx.load(digits_run.version / "model.onnx", load_external_data=False)
    assert model.ir_version <= 10
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    assert model.ByteSize() > 2_700_000


@pytest.mark.parametrize("opset", [19, 20])
def test_the_other_opsets_export_and_agree(digits: Dataset, tmp_path: Path, opset: int) -> None:
    network = Network(digits.normalisation(), zoo.build("convnet", {}, digits.shape, 10))
    exported = export(network, digits, opset, tmp_path / "model.onnx")
    assert exported.opset == opset
    assert parity.measure(network, exported.path, digits, Parity()).max_abs < 1e-5


def test_weights_changed_after_the_export_fail_parity(digits: Dataset, tmp_path: Path) -> None:
    network = Network(digits.normalisation(), zoo.build("convnet", {}, digits.shape, 10))
    path = tmp_path / "model.onnx"
    export(network, digits, 18, path)
    model = onnx.load(path)
    bias = next(tensor for tensor in model.graph.initializer if list(tensor.dims) == [10])
    changed = onnx.numpy_helper.to_array(bias) + np.eye(10, dtype=np.float32)[3]
    bias.CopyFrom(onnx.numpy_helper.from_array(changed, bias.name))
    onnx.save(model, path)
    with pytest.raises(ParityFailed, match=r"output 3\)"):
        parity.measure(network, path, digits, Parity())


def test_dropout_is_exported_in_evaluation_mode(digits: Dataset, tmp_path: Path) -> None:
    body = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(784, 10))
    network = Network(digits.normalisation(), body).train()
    exported = export(network, digits, 18, tmp_path / "model.onnx")
    assert "Dropout" not in {node.op_type for node in onnx.load(exported.path).graph.node}
    assert parity.measure(network, exported.path, digits, Parity()).max_abs < 1e-5


def test_answers_that_are_no_numbers_fail_parity(digits: Dataset, tmp_path: Path) -> None:
    network = Network(digits.normalisation(), zoo.build("convnet", {}, digits.shape, 10))
    with torch.no_grad():
        network.get_parameter("body.head.bias").fill_(float("nan"))
    exported = export(network, digits, 18, tmp_path / "model.onnx")
    with pytest.raises(ParityFailed):
        parity.measure(network, exported.path, digits, Parity())


def test_parity_takes_all_samples_there_are_when_they_are_few(digits: Dataset, tmp_path: Path) -> None:
    few = Dataset(
        "few",
        digits.train_images[:20],
        digits.train_targets[:20],
        digits.test_images[:5],
        digits.test_targets[:5],
        digits.labels,
    )
    network = Network(few.normalisation(), zoo.build("convnet", {}, few.shape, 10))
    exported = export(network, few, 18, tmp_path / "model.onnx")
    assert len(parity.measure(network, exported.path, few, Parity()).images) == 25
