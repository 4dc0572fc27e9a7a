"""The metadata of a lone .onnx file, and which servers can load it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.serving.graphs import convnet
from trainserve.serving.sources import onnx_graph, releases
from trainserve.serving.sources.onnx_graph import UnusableGraph
from trainserve.serving.sources.origins import EscapingName
from trainserve.serving.sources.releases import DEVELOPMENT, GraphTooNew, UnknownRelease, release
from trainserve.serving.sources.source import open_servable
from trainserve.store import DigestMismatch, StoreError

Write = Callable[..., Path]


def relu(opset: int = 15, ir_version: int = 8, **inputs: object) -> onnx.ModelProto:
    """Return a model with one Relu from x to y; `inputs` replaces fields of x."""
    value: dict[str, Any] = {"elem_type": TensorProto.FLOAT, "shape": ["batch", 4], **inputs}
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "relu",
        [helper.make_tensor_value_info("x", **value)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(model: onnx.ModelProto, name: str = "shapes.onnx") -> Path:
        path = tmp_path / name
        path.write_bytes(model.SerializeToString())
        return path

    return written


def test_inputs_outputs_and_the_batch_axis_are_the_graphs_own(graph: Path) -> None:
    model = open_servable(str(graph))
    assert [(each.name, each.dtype, each.shape) for each in model.inputs] == [("images", "uint8", [-1, 28, 28, 1])]
    assert [(each.name, each.dtype, each.shape) for each in model.outputs] == [("probabilities", "float32", [-1, 10])]
    assert (model.name, model.graph, model.batched, model.opset, model.ir_version) == (
        "shapes",
        graph.name,
        True,
        18,
        10,
    )
    assert (model.files, model.samples, model.manifest) == ((graph.name,), None, None)


def test_a_fixed_batch_is_none(write: Write) -> None:
    model = open_servable(str(write(convnet(batch=4))))
    assert (model.inputs[0].shape, model.batched) == ([4, 28, 28, 1], False)


def test_a_graph_that_trainserve_exported_brings_its_labels(write: Write) -> None:
    model = relu()
    notes = {"labels": json.dumps(["cat", "dog"]), "preprocessing": '{"scale": 1.0, "mean": [0.5], "std": [2.0]}'}
    helper.set_model_props(model, notes)
    found = open_servable(str(write(model)))
    assert found.labels == ("cat", "dog")
    assert found.preprocessing is not None
    assert found.preprocessing.mean == [0.5]


def test_weights_given_as_inputs_are_not_asked_for(write: Write) -> None:
    model = relu()
    model.graph.node[0].op_type = "Add"
    model.graph.node[0].input.append("w")
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [4]))
    model.graph.initializer.append(numpy_helper.from_array(np.ones(4, np.float32), "w"))
    assert [each.name for each in open_servable(str(write(model))).inputs] == ["x"]


def external(tmp_path: Path, location: str) -> Path:
    """Return a graph whose weights are at `location`; they are written there if that is inside `tmp_path`."""
    model = relu()
    model.graph.node[0].op_type = "Add"
    model.graph.node[0].input.append("w")
    weights = numpy_helper.from_array(np.arange(4, dtype=np.float32), "w")
    content = weights.raw_data
    onnx.external_data_helper.set_external_data(weights, location, 0, len(content))
    weights.ClearField("raw_data")
    model.graph.initializer.append(weights)
    path = tmp_path / "big.onnx"
    path.write_bytes(model.SerializeToString())
    (tmp_path / "weights.bin").write_bytes(content)
    return path


def test_external_data_belongs_to_the_model_and_to_its_digest(tmp_path: Path) -> None:
    path = external(tmp_path, "weights.bin")
    model = open_servable(str(path))
    assert model.files == ("big.onnx", "weights.bin")
    (tmp_path / "weights.bin").write_bytes(bytes(16))
    with pytest.raises(DigestMismatch):
        open_servable(str(path), digest=model.digest)


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/passwd", "a/../../weights.bin", "..\\weights.bin"])
def test_external_data_outside_of_its_folder_is_refused(tmp_path: Path, location: str) -> None:
    with pytest.raises(EscapingName, match="not allowed; names must lead to files inside of it"):
        open_servable(str(external(tmp_path, location)))


def test_external_data_behind_a_link_out_of_its_folder_is_refused(tmp_path: Path) -> None:
    path = external(tmp_path, "link.bin")
    (tmp_path / "link.bin").symlink_to("/etc/passwd")
    with pytest.raises(EscapingName, match="it is a link that leads out of"):
        open_servable(str(path))


def test_external_data_in_a_subgraph_is_seen(tmp_path: Path) -> None:
    inner = numpy_helper.from_array(np.ones(1, np.float32), "w")
    onnx.external_data_helper.set_external_data(inner, "../../secret")
    branch = helper.make_graph([helper.make_node("Constant", [], ["c"], value=inner)], "then", [], [])
    model = relu()
    model.graph.node.append(helper.make_node("If", ["x"], ["z"], then_branch=branch, else_branch=branch))
    (tmp_path / "x.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(EscapingName):
        onnx_graph.read(tmp_path / "x.onnx")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it has no graph"),
        (b"\x89PNG\r\n not a graph", "not an ONNX file, or cut off"),
        (convnet().SerializeToString()[:-100], "not an ONNX file, or cut off"),
        (relu(shape=None).SerializeToString(), "x has no shape"),
        (relu(elem_type=0).SerializeToString(), "x has type number 0; must be one of"),
        (relu(elem_type=99).SerializeToString(), "x has type number 99; must be one of"),
        (relu(elem_type=TensorProto.BFLOAT16).SerializeToString(), "x has type bfloat16; must be one of bool, uint8"),
    ],
)
def test_what_is_no_servable_graph_is_refused_by_name(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "x.onnx").write_bytes(content)
    with pytest.raises(UnusableGraph, match=words):
        open_servable(str(tmp_path / "x.onnx"))


@hypothesis.given(st.data())
@hypothesis.settings(max_examples=150, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_damaged_bytes_are_a_graph_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(relu().SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(content)))
        content[start : start + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    (tmp_path / "x.onnx").write_bytes(content)
    with contextlib.suppress(StoreError):
        assert open_servable(str(tmp_path / "x.onnx")).outputs


def test_a_graph_that_onnx_refuses_is_refused_in_its_words(write: Write) -> None:
    model = relu()
    model.graph.node[0].input[0] = "nowhere"
    with pytest.raises(UnusableGraph, match=r"not a valid ONNX graph: .*nowhere"):
        open_servable(str(write(model)))


# Releases.


@pytest.mark.parametrize(
    ("opset", "ir_version", "server", "words"),
    [
        (
            23,
            8,
            "25.06",
            "opset 23 needs Triton ≥ 25.08; Triton 25.06 has onnxruntime 1.22.0, which loads up to opset 22",
        ),
        (22, 8, "24.10", "opset 22 needs Triton ≥ 25.03"),
        (25, 8, "25.11", "opset 25 needs Triton ≥ 26.02"),
        (18, 11, "24.10", "IR version 11 needs Triton ≥ 25.08; .* loads up to IR version 10"),
        (27, 8, "26.08", "opset 27 needs a Triton later than 26.08"),
    ],
)
def test_a_graph_that_is_too_new_is_told_which_server_it_needs(
    opset: int, ir_version: int, server: str, words: str
) -> None:
    with pytest.raises(GraphTooNew, match=words):
        releases.check(opset, ir_version, "x.onnx", release(server))


def test_of_old_graphs_none_is_too_old() -> None:
    """Below opset 7, onnxruntime guarantees nothing and loads what it can: 78 of onnx's 112 test models of opset 6."""
    releases.check(6, 3, "x.onnx", release("26.08"))


def test_a_model_is_opened_for_the_server_that_is_meant(write: Write) -> None:
    path = write(relu(opset=23, ir_version=11))
    assert open_servable(str(path), release="nvcr.io/nvidia/tritonserver:25.11-py3").opset == 23
    with pytest.raises(GraphTooNew, match="opset 23 needs"):
        open_servable(str(path), release="nvcr.io/nvidia/tritonserver:24.10-py3")


@pytest.mark.parametrize("name", ["25.11", "25.11-py3", "registry:5000/tritonserver:25.11-py3-sdk"])
def test_an_images_tag_says_its_release(name: str) -> None:
    assert (release(name).name, release(name).onnxruntime) == ("Triton 25.11", "1.23.2")


@pytest.mark.parametrize("name", ["22.01", "latest", "mine:1.2.3", "tritonserver"])
def test_a_release_that_nobody_knows_is_named(name: str) -> None:
    with pytest.raises(UnknownRelease, match=r"known are 23\.06 to 26\.08"):
        release(name)


def test_the_development_server_loads_just_what_the_table_says() -> None:
    server = release(DEVELOPMENT)
    assert onnxruntime.__version__ == server.onnxruntime, "the table is measured with another onnxruntime"

    def loads(**versions: int) -> bool:
        try:
            onnxruntime.InferenceSession(relu(**versions).SerializeToString(), providers=["CPUExecutionProvider"])
        except Exception:
            return False
        return True

    assert loads(opset=server.opset)
    assert loads(ir_version=server.ir_version)
    assert not loads(opset=server.opset + 1)
    assert not loads(ir_version=server.ir_version + 1)


def test_a_classifier_that_ends_in_a_zip_map_is_told_how_to_convert_it_without(write: Write) -> None:
    model = relu()
    maps = helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    probabilities = helper.make_value_info("output_probability", helper.make_sequence_type_proto(maps))
    model.graph.node.append(
        helper.make_node("ZipMap", ["y"], ["output_probability"], domain="ai.onnx.ml", classlabels_int64s=[0, 1, 2, 3])
    )
    model.graph.output.append(probabilities)
    with pytest.raises(UnusableGraph, match=r"output_probability is a sequence.*options=\{'zipmap': False\}"):
        open_servable(str(write(model)))
