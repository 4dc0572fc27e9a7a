"""The weights of a script's own `model.onnx`: published with it, in whichever part of the graph they are referenced."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from trainserve import store
from trainserve.models.errors import UserError
from trainserve.models.script import own_graph
from trainserve.models.script.config import parse

from .conftest import RunScript

TABLE = np.arange(12, dtype=np.float32).reshape(3, 4)
ROW = np.array([[1, 0, 2]], np.float32)
BATCH: tuple[list[str | int | None], list[str | int | None]] = (["n", 3], ["n", 4])


def outside(folder: Path, name: str, file: str) -> Any:
    """Return TABLE as a tensor with its data in `file`."""
    (folder / file).parent.mkdir(exist_ok=True)
    (folder / file).write_bytes(TABLE.tobytes())
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=TABLE.shape, data_location=TensorProto.EXTERNAL)
    for key, value in (("location", file), ("offset", "0"), ("length", str(TABLE.nbytes))):
        tensor.external_data.add(key=key, value=value)
    return tensor


def product(table: str, out: str) -> Any:
    return helper.make_node("MatMul", ["in", table], [out])


def branch(name: str, nodes: list[Any], out: str, weights: list[Any]) -> Any:
    value = helper.make_tensor_value_info(out, TensorProto.FLOAT, BATCH[1])
    return helper.make_graph(nodes, name, [], [value], weights)


def initializer(folder: Path, file: str) -> tuple[list[Any], list[Any], list[Any]]:
    return [product("w", "out")], [outside(folder, "w", file)], []


def constant(folder: Path, file: str) -> tuple[list[Any], list[Any], list[Any]]:
    return [helper.make_node("Constant", [], ["w"], value=outside(folder, "w", file)), product("w", "out")], [], []


def branches(folder: Path, file: str) -> tuple[list[Any], list[Any], list[Any]]:
    then = branch("then", [product("w", "then_out")], "then_out", [outside(folder, "w", file)])
    node = helper.make_node("Constant", [], ["v"], value=outside(folder, "v", f"else-{file}"))
    other = branch("else", [node, product("v", "else_out")], "else_out", [])
    truth = helper.make_node("Constant", [], ["yes"], value=helper.make_tensor("yes", TensorProto.BOOL, [], [True]))
    return [truth, helper.make_node("If", ["yes"], ["out"], then_branch=then, else_branch=other)], [], []


def loop(folder: Path, file: str) -> tuple[list[Any], list[Any], list[Any]]:
    def scalar(name: str, kind: int) -> Any:
        return helper.make_tensor_value_info(name, kind, [])

    body = helper.make_graph(
        [product("w", "product"), helper.make_node("Identity", ["goes_on"], ["still"])],
        "body",
        [scalar("step", TensorProto.INT64), scalar("goes_on", TensorProto.BOOL)],
        [scalar("still", TensorProto.BOOL), helper.make_tensor_value_info("product", TensorProto.FLOAT, BATCH[1])],
        [outside(folder, "w", file)],
    )
    once = helper.make_node("Constant", [], ["once"], value=helper.make_tensor("once", TensorProto.INT64, [], [1]))
    axes = helper.make_node("Constant", [], ["axes"], value=helper.make_tensor("axes", TensorProto.INT64, [1], [0]))
    nodes = [once, axes, helper.make_node("Loop", ["once", ""], ["all"], body=body)]
    return [*nodes, helper.make_node("Squeeze", ["all", "axes"], ["out"])], [], []


def function(folder: Path, file: str) -> tuple[list[Any], list[Any], list[Any]]:
    nodes = [helper.make_node("Constant", [], ["w"], value=outside(folder, "w", file)), product("w", "out")]
    made = helper.make_function("mine", "Product", ["in"], ["out"], nodes, [helper.make_opsetid("", 18)])
    return [helper.make_node("Product", ["in"], ["out"], domain="mine")], [], [made]


def written(folder: Path, form: Any, file: str) -> Any:
    """Write out = in @ TABLE to model.onnx; return the result of `own_graph`."""
    nodes, weights, functions = form(folder, file)
    given, answer = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in zip(("in", "out"), BATCH, strict=True)
    )
    model = helper.make_model(
        helper.make_graph(nodes, "product", [given], [answer], weights),
        opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("mine", 1)],
        functions=functions,
        ir_version=10,
    )
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return own_graph.take(folder, parse({"model": {"script": "a.py"}}, folder))


@pytest.mark.parametrize("form", [initializer, constant, branches, loop, function])
def test_weights_in_any_part_of_the_graph_are_files_of_the_version(form: Any, tmp_path: Path) -> None:
    taken = written(tmp_path, form, "weights.bin")
    expected = {"model.onnx", "weights.bin"} | ({"else-weights.bin"} if form is branches else set())
    assert set(taken.files) == expected
    assert taken.bytes == sum((tmp_path / name).stat().st_size for name in expected)
    for name, path in taken.files.items():
        (tmp_path / "copy").mkdir(exist_ok=True)
        (tmp_path / "copy" / name).write_bytes(path.read_bytes())
    session = onnxruntime.InferenceSession(tmp_path / "copy/model.onnx", providers=["CPUExecutionProvider"])
    assert (session.run(None, {"in": ROW})[0] == ROW @ TABLE).all()


def test_they_are_published(run_script: RunScript, tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    written(tmp_path / "made", branches, "w.bin")
    run_script(f"""
    import os, shutil
    for name in ("model.onnx", "w.bin", "else-w.bin"):
        shutil.copy({str(tmp_path / "made")!r} + "/" + name, os.environ["TRAINSERVE_OUTPUT"])
    """)
    files = store.manifest(tmp_path / "store", "default", "mine", 1).files
    assert {"model.onnx", "w.bin", "else-w.bin"} <= files.keys()


@pytest.mark.parametrize("file", ["folder/w.bin", "samples.npz", "manifest.json", "report.html"])
def test_weights_that_cannot_be_a_file_of_the_version_are_named(file: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"^model\.onnx: weights are in '{file}'; must be a file beside it"):
        written(tmp_path, constant, file)
    assert onnx.load(tmp_path / "model.onnx").graph.output[0].name == "out"
