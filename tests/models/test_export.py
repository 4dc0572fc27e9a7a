"""The exported file: its inputs and outputs, any batch size, and no trace of this machine."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from trainserve.models import onnx_file, parity, zoo
from trainserve.models.config import Export
from trainserve.models.session import Session

from .conftest import FinishedRun
from .exporting import dataset, exported, linear, regression

DATA = dataset()


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
    assert json.loads(properties["preprocessing"])["by"] == "graph"


def test_nothing_of_this_machine_is_in_the_file(digits_run: FinishedRun) -> None:
    content = (digits_run.version / "model.onnx").read_bytes()
    for trace in (b".py", b"stack_trace", b"site-packages", b"File ", os.fsencode(Path.cwd()), b"trainserve"):
        assert trace not in content


def test_notes_are_stripped_from_functions_and_subgraphs_however_deep() -> None:
    def noted(part: Any) -> Any:
        part.doc_string = "File /home/someone/net.py"
        if hasattr(part, "metadata_props"):
            part.metadata_props.add(key="pkg.torch.onnx.stack_trace", value="File /home/someone/net.py")
        return part

    def branch(*nodes: onnx.NodeProto) -> onnx.GraphProto:
        value = noted(helper.make_tensor_value_info("y", TensorProto.FLOAT, [1]))
        graph = helper.make_graph(nodes, "branch", [], [value], [noted(helper.make_tensor("w", 1, [1], [2.0]))])
        graph.value_info.append(noted(helper.make_tensor_value_info("z", TensorProto.FLOAT, [1])))
        return noted(graph)

    inner = noted(helper.make_node("If", ["c"], ["y"], then_branch=branch(), else_branch=branch()))
    node = noted(helper.make_node("If", ["c"], ["y"], then_branch=branch(inner), else_branch=branch()))
    node.attribute.append(noted(helper.make_attribute("several", [branch(inner)])))
    function = helper.make_function("own", "f", ["a"], ["b"], [inner], [helper.make_opsetid("", 18)])
    model = helper.make_model(branch(node), functions=[noted(function)])
    assert model.SerializeToString().count(b"/home/someone") > 40
    onnx_file.strip(noted(model))
    assert b"someone" not in model.SerializeToString()
    assert b"stack_trace" not in model.SerializeToString()


def test_weights_are_inside_and_versions_load_everywhere(digits_run: FinishedRun) -> None:
    model = onnx.load(digits_run.version / "model.onnx", load_external_data=False)
    assert model.ir_version <= 10
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    assert model.ByteSize() > 2_700_000


@pytest.mark.parametrize("opset", [19, 20])
def test_the_other_opsets_export_and_agree(tmp_path: Path, opset: int) -> None:
    graph, made = exported(DATA, zoo.build("convnet", {}, DATA.shape, 5), tmp_path, opset=opset)
    assert made.opset == opset
    assert parity.measure(graph, Session(made.path), DATA, Export()).max_abs < 1e-5


def test_weights_too_many_for_one_file_lie_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_file, "INLINE_LIMIT", 1000)
    graph, made = exported(DATA, linear(DATA), tmp_path)
    assert sorted(made.files) == ["model.onnx", "model.onnx.data"]
    assert made.files["model.onnx.data"].stat().st_size >= 64 * 5 * 4
    assert made.files["model.onnx"].stat().st_size < 64 * 5 * 4 + 1500
    assert b".py" not in made.path.read_bytes()
    assert parity.measure(graph, Session(made.path), DATA, Export()).max_abs < 1e-5


def test_top_k_answers_the_best_classes_beside_all_probabilities(tmp_path: Path) -> None:
    _, made = exported(DATA, linear(DATA), tmp_path, topK=2)
    model = onnxruntime.InferenceSession(made.path)
    assert [(output.name, output.type, output.shape) for output in model.get_outputs()] == [
        ("probabilities", "tensor(float)", ["batch", 5]),
        ("top_probabilities", "tensor(float)", ["batch", 2]),
        ("top_labels", "tensor(int64)", ["batch", 2]),
    ]
    probabilities, top, labels = model.run(None, {"images": DATA.test_images[:9]})
    assert (np.sort(probabilities, axis=1)[:, :-3:-1] == top).all()
    assert (np.take_along_axis(probabilities, labels, 1) == top).all()


def test_the_tensor_variant_takes_what_the_client_normalised(tmp_path: Path) -> None:
    graph, made = exported(DATA, linear(DATA), tmp_path, input="tensor")
    model = onnxruntime.InferenceSession(made.path)
    (given,) = model.get_inputs()
    assert (given.name, given.type, given.shape) == ("tensor", "tensor(float)", ["batch", 1, 8, 8])
    properties = json.loads(model.get_modelmeta().custom_metadata_map["preprocessing"])
    assert properties["by"] == "client"
    images = DATA.test_images[:9].transpose(0, 3, 1, 2)
    tensor = (images * properties["scale"] - properties["mean"]) / properties["std"]
    (found,) = model.run(None, {"tensor": tensor.astype(np.float32)})
    with torch.inference_mode():
        expected = graph.network(torch.from_numpy(DATA.test_images[:9])).numpy()
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-5)


def test_a_regression_answers_values(tmp_path: Path) -> None:
    data = regression()
    graph, made = exported(data, linear(data), tmp_path)
    (output,) = onnxruntime.InferenceSession(made.path).get_outputs()
    assert (output.name, output.type, output.shape) == ("values", "tensor(float)", ["batch", 2])
    compared = parity.measure(graph, Session(made.path), data, Export())
    assert compared.answers["values"].min() < 0


def test_dropout_is_exported_in_evaluation_mode(tmp_path: Path) -> None:
    body = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 5)).train()
    graph, made = exported(DATA, body, tmp_path)
    assert "Dropout" not in {node.op_type for node in onnx.load(made.path).graph.node}
    assert parity.measure(graph, Session(made.path), DATA, Export()).max_abs < 1e-5
