"""The python-based backend, where it differs from a plain session."""

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
from trainserve.serving.server import DevelopmentServer

Start = Callable[..., DevelopmentServer]


def save(model: onnx.ModelProto, repository: Path, name: str, config: str | None = None) -> None:
    folder = repository / name / "1"
    folder.mkdir(parents=True)
    onnx.save(model, folder / "model.onnx")
    if config is not None:
        (folder.parent / "config.pbtxt").write_text(config)


def lookup() -> onnx.ModelProto:
    """int64 indices (batch, 1) to two outputs; an index outside 0..4 fails at run time, inside onnxruntime."""
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
    indices = [0, 1, 99, 2, 3, 4, -77, 1]  # eight requests: one batch, held together by the queue delay
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


def test_answers_are_right_when_the_memory_shared_with_the_server_has_grown(start: Start, tmp_path: Path) -> None:
    config = 'backend: "onnxruntime" max_batch_size: 4096'
    save(convnet(), tmp_path / "models", "large", config)
    server = start(tmp_path / "models")
    given = images(3000)  # 2.3 MB: more than the megabyte that the server begins with
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


def test_a_graph_with_a_fixed_batch_is_served(start: Start, tmp_path: Path) -> None:
    save(convnet(batch=2), tmp_path / "models", "fixed", 'backend: "onnxruntime"')
    server = start(tmp_path / "models")
    with Client(server.url) as client:
        model = client.model("fixed")
        assert model.inputs[0].shape == (2, 28, 28, 1)
        answer = client.infer(model, {"images": images(2)})["probabilities"]
    np.testing.assert_allclose(answer, answers(convnet(), images(2)), rtol=1e-4, atol=1e-6)


def test_strings_go_in_and_out(start: Start, tmp_path: Path) -> None:
    """Two requests of one batch, too: pieces of text concatenate like numbers."""
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
