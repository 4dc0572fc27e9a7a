"""The development server's onnxruntime backend, where it does more than run a plain session."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.serving.graphs import convnet
from tests.serving.versions import answers, images
from trainserve.client import Client, RequestFailed
from trainserve.serving.devserver.server import DevelopmentServer, ServerNotReady

Start = Callable[..., DevelopmentServer]


def save(model: onnx.ModelProto, repository: Path, name: str, config: str | None = None) -> None:
    folder = repository / name / "1"
    folder.mkdir(parents=True)
    onnx.save(model, folder / "model.onnx")
    if config is not None:
        (folder.parent / "config.pbtxt").write_text(config)


def lookup() -> onnx.ModelProto:
    """Map int64 indices (batch, 1) to two outputs; an index outside 0..4 fails at run time, inside onnxruntime."""
    table = helper.make_tensor("table", TensorProto.FLOAT, [5], [0.0, 10.0, 20.0, 30.0, 40.0])
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "indices"], ["found"]),
            helper.make_node("Neg", ["found"], ["negated"]),
        ],
        "lookup",
        [helper.make_tensor_value_info("indices", TensorProto.INT64, ["batch", 1])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 1]) for name in ("found", "negated")],
        [table],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


LOOKUP = """
backend: "onnxruntime"
max_batch_size: 16
dynamic_batching { max_queue_delay_microseconds: 200000 preferred_batch_size: 8 }
instance_group [{ count: 1 kind: KIND_CPU }]
"""


@pytest.fixture
def lookup_server(start: Start, tmp_path: Path) -> DevelopmentServer:
    save(lookup(), tmp_path / "models", "lookup", LOOKUP)
    return start(tmp_path / "models")


def test_the_error_of_one_request_is_not_its_neighbours(lookup_server: DevelopmentServer) -> None:
    indices = [0, 1, 99, 2, 3, 4, -77, 1]  # eight requests, collected into one batch by the queue delay
    found: dict[int, float | str] = {}

    def ask(position: int) -> None:
        with Client(lookup_server.url) as client:
            model = client.model("lookup")
            together.wait()
            try:
                answer = client.infer(model, {"indices": np.array([[indices[position]]])})
                found[position] = float(answer["found"][0, 0])
            except RequestFailed as error:
                found[position] = str(error)

    together = threading.Barrier(len(indices))
    threads = [threading.Thread(target=ask, args=(position,)) for position in range(len(indices))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    failed = {position: words for position, words in found.items() if isinstance(words, str)}
    assert set(failed) == {2, 6}
    assert "idx=99" in failed[2]
    assert "idx=-77" in failed[6]
    assert [found[position] for position in (0, 1, 3, 4, 5, 7)] == [0.0, 10.0, 20.0, 30.0, 40.0, 10.0]


def test_only_the_outputs_asked_for_are_sent(lookup_server: DevelopmentServer) -> None:
    with Client(lookup_server.url) as client:
        both = client.infer(client.model("lookup"), {"indices": np.array([[3], [1]])})
    assert {name: array.ravel().tolist() for name, array in both.items()} == {
        "found": [30.0, 10.0],
        "negated": [-30.0, -10.0],
    }
    tensor = {"name": "indices", "shape": [1, 1], "datatype": "INT64", "data": [2]}
    connection = http.client.HTTPConnection(lookup_server.url)
    for name, value in (("negated", -20.0), ("found", 20.0), ("negated", -20.0)):
        body = json.dumps({"inputs": [tensor], "outputs": [{"name": name}]})
        connection.request("POST", "/v2/models/lookup/infer", body, {"Content-Type": "application/json"})
        outputs = json.load(connection.getresponse())["outputs"]
        assert [(output["name"], output["data"]) for output in outputs] == [(name, [value])]
    connection.close()


def test_every_request_gets_its_own_answer_however_they_are_gathered(server: DevelopmentServer) -> None:
    count, threads = 400, 8
    given = images(count)
    expected = answers(convnet(), given)
    assert len(np.unique(expected.round(4), axis=0)) == count
    with Client(server.url) as client, ThreadPoolExecutor(threads) as pool:
        model = client.model("digits")
        sizes = np.random.default_rng(0).choice([1, 1, 1, 1, 1, 1, 2, 3], count)
        parts = [slice(start, start + size) for start, size in enumerate(sizes)]

        def ask(part: slice) -> np.ndarray:
            return client.infer(model, {"images": given[part]})["probabilities"]

        for part, answer in zip(parts, pool.map(ask, parts), strict=True):
            np.testing.assert_allclose(answer, expected[part], rtol=1e-4, atol=1e-6)


def test_answers_are_right_after_a_batch_larger_than_all_before(start: Start, tmp_path: Path) -> None:
    config = 'backend: "onnxruntime" max_batch_size: 4096'
    save(convnet(), tmp_path / "models", "large", config)
    server = start(tmp_path / "models")
    given = images(3000)
    expected = answers(convnet(), given)
    with Client(server.url) as client:
        model = client.model("large")
        for part in (slice(0, 1), slice(1, 2), slice(0, 3000), slice(2, 3), slice(3, 4)):
            answer = client.infer(model, {"images": given[part]})["probabilities"]
            np.testing.assert_allclose(answer, expected[part], rtol=1e-4, atol=1e-6)


def test_a_graph_without_a_configuration_is_described_from_itself(start: Start, tmp_path: Path) -> None:
    save(convnet(), tmp_path / "models", "bare", 'backend: "onnxruntime"')
    server = start(tmp_path / "models")
    with Client(server.url) as client:
        model = client.model("bare")
        assert model.inputs[0].shape == (-1, 28, 28, 1)
        answer = client.infer(model, {"images": images(3)})["probabilities"]
    np.testing.assert_allclose(answer, answers(convnet(), images(3)), rtol=1e-4, atol=1e-6)


def test_values_may_lie_anywhere_in_a_request(lookup_server: DevelopmentServer) -> None:
    """In the binary form, values follow JSON of any length, so their address may not be aligned for int64."""
    tensor = {"name": "indices", "shape": [2, 1], "datatype": "INT64", "parameters": {"binary_data_size": 16}}
    connection = http.client.HTTPConnection(lookup_server.url)
    for spaces in range(9):
        text = json.dumps({"inputs": [tensor], "outputs": [{"name": "found"}]}).encode() + b" " * spaces
        headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(text))}
        connection.request("POST", "/v2/models/lookup/infer", text + np.array([4, 1]).tobytes(), headers)
        assert json.load(connection.getresponse())["outputs"][0]["data"] == [40.0, 10.0]
    connection.close()


def test_a_configuration_that_the_graph_contradicts_is_told_by_the_input(start: Start, tmp_path: Path) -> None:
    config = """backend: "onnxruntime" max_batch_size: 16
input { name: "indices" data_type: TYPE_INT32 dims: [1] }
output { name: "found" data_type: TYPE_FP32 dims: [1] }"""
    save(lookup(), tmp_path / "models", "lookup", config)
    server = start(tmp_path / "models")
    with Client(server.url) as client, pytest.raises(RequestFailed) as refused:
        client.infer(client.model("lookup"), {"indices": np.array([[1]], np.int32)})
    assert "input indices: the graph takes TYPE_INT64, and was given TYPE_INT32" in str(refused.value)


@pytest.mark.parametrize("value", ["many", "-1", "", "2.5", "99999999999"])
def test_a_count_of_threads_that_is_none_is_told_with_what_is_allowed(
    command: Path, tmp_path: Path, value: str
) -> None:
    parameter = f'parameters {{ key: "intra_op_thread_count" value {{ string_value: "{value}" }} }}'
    save(lookup(), tmp_path / "models", "lookup", LOOKUP + parameter)
    with pytest.raises(ServerNotReady) as refused:
        DevelopmentServer(command, tmp_path / "models", tmp_path / "log").start()
    words = f'parameter intra_op_thread_count: "{value}" is not allowed; must be 0, '
    assert words in str(refused.value).replace("\\", "")


def test_an_output_that_is_no_tensor_is_told_by_name(command: Path, tmp_path: Path) -> None:
    value = helper.make_tensor_value_info
    sequence = helper.make_tensor_sequence_value_info("both", TensorProto.FLOAT, ["batch", 1])
    node = helper.make_node("SequenceConstruct", ["x", "x"], ["both"])
    graph = helper.make_graph([node], "sequence", [value("x", TensorProto.FLOAT, ["batch", 1])], [sequence])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    save(model, tmp_path / "models", "sequence", 'backend: "onnxruntime"')
    with pytest.raises(ServerNotReady, match="both is no tensor"):
        DevelopmentServer(command, tmp_path / "models", tmp_path / "log").start()


def test_a_graph_of_any_file_name_is_found(start: Start, tmp_path: Path) -> None:
    name = "gr\N{LATIN SMALL LETTER O WITH DIAERESIS}\N{SNOWMAN} <&> 1\t.onnx"
    quoted = json.dumps(name, ensure_ascii=False)
    save(lookup(), tmp_path / "models", "named", f'backend: "onnxruntime" default_model_filename: {quoted}')
    (tmp_path / "models/named/1/model.onnx").rename(tmp_path / "models/named/1" / name)
    server = start(tmp_path / "models")
    with Client(server.url) as client:
        assert client.infer(client.model("named"), {"indices": np.array([[3]])})["found"].tolist() == [[30.0]]


def test_several_inputs_empty_ones_and_any_bytes_as_text(start: Start, tmp_path: Path) -> None:
    value = helper.make_tensor_value_info
    numbers: list[str | int | None] = ["batch", "columns"]
    texts: list[str | int | None] = ["batch", 1]
    graph = helper.make_graph(
        [helper.make_node("Add", ["a", "a"], ["twice"]), helper.make_node("Identity", ["t"], ["same"])],
        "several",
        [value("a", TensorProto.DOUBLE, numbers), value("t", TensorProto.STRING, texts)],
        [value("twice", TensorProto.DOUBLE, numbers), value("same", TensorProto.STRING, texts)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    save(model, tmp_path / "models", "several", 'backend: "onnxruntime"')
    server = start(tmp_path / "models")
    with Client(server.url) as client:
        several = client.model("several")
        for columns, text in ((0, b"a\0b"), (3, b"\xff\xfe"), (1, b"")):
            given = {"a": np.ones((2, columns)), "t": np.array([[text], [b"x"]], object)}
            answer = client.infer(several, given)
            assert (answer["twice"].shape, answer["same"].tolist()) == ((2, columns), [[text], [b"x"]])
            assert (answer["twice"] == 2).all()


def test_a_graph_with_a_fixed_batch_is_served(start: Start, tmp_path: Path) -> None:
    save(convnet(batch=2), tmp_path / "models", "fixed", 'backend: "onnxruntime"')
    server = start(tmp_path / "models")
    with Client(server.url) as client:
        model = client.model("fixed")
        assert model.inputs[0].shape == (2, 28, 28, 1)
        answer = client.infer(model, {"images": images(2)})["probabilities"]
    np.testing.assert_allclose(answer, answers(convnet(), images(2)), rtol=1e-4, atol=1e-6)


def test_strings_go_in_and_out(start: Start, tmp_path: Path) -> None:
    """Includes two requests in one batch: strings are concatenated like numbers."""
    graph = helper.make_graph(
        [helper.make_node("Identity", ["words"], ["same"])],
        "echo",
        [helper.make_tensor_value_info("words", TensorProto.STRING, ["batch", 2])],
        [helper.make_tensor_value_info("same", TensorProto.STRING, ["batch", 2])],
    )
    echo = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    config = """
backend: "onnxruntime"
max_batch_size: 2
dynamic_batching { max_queue_delay_microseconds: 1000000 }
"""
    save(echo, tmp_path / "models", "echo", config)
    server = start(tmp_path / "models")
    words = [[["naïve", ""]], [["\N{SNOWMAN}", "b"]]]

    def ask(rows: list[list[str]]) -> list[list[str]]:
        with Client(server.url) as client:
            sent = np.array([[text.encode() for text in row] for row in rows], dtype=object)
            answer = client.infer(client.model("echo"), {"words": sent})["same"]
        return [[text.decode() for text in row] for row in answer]

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(ask, words)) == words


def test_a_batch_around_a_graph_that_has_none_is_refused_at_load(command: Path, tmp_path: Path) -> None:
    """NVIDIA's backend does the same: otherwise the model is ready, and every request of several rows fails."""
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", tensors[:1], tensors[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    config = 'backend: "onnxruntime"\nmax_batch_size: 8\n' + "".join(
        f'{kind} [{{name: "{name}" data_type: TYPE_FP32 dims: [3]}}]\n'
        for kind, name in (("input", "x"), ("output", "y"))
    )
    save(model, tmp_path / "models", "one", config)
    server = DevelopmentServer(command, tmp_path / "models", tmp_path / "log")
    with pytest.raises(ServerNotReady, match=r"tensor 'x': max_batch_size > 0 needs a first dimension of -1"):
        server.start()


def test_tensors_without_axes_are_described_and_answered_without_a_configuration(start: Start, tmp_path: Path) -> None:
    def graph(*axes: str) -> onnx.ModelProto:
        tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(axes)) for name in ("x", "y")]
        made = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "g", tensors[:1], tensors[1:])
        return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)

    save(graph(), tmp_path / "models", "alone")
    save(graph("batch"), tmp_path / "models", "each")
    with Client(start(tmp_path / "models").url) as client:
        for name, given, shape in (
            ("alone", np.array([3], np.float32), ()),
            ("each", np.array([[3], [4]], np.float32), (2, 1)),
        ):
            model = client.model(name)
            assert (model.max_batch > 0) == (name == "each")
            answer = client.infer(model, {"x": given})["y"]
            assert (answer.shape, answer.reshape(-1).tolist()) == (shape, (-given).reshape(-1).tolist())
