"""The running server: correct answers, batches, and malformed requests."""

from __future__ import annotations

import http.client
import json
import threading
import urllib.request
from typing import Any

import numpy as np
import pytest

from tests.serving.graphs import convnet
from tests.serving.versions import LABELS, answers, images
from trainserve.client import BadInput, Client, Protocol, RequestFailed
from trainserve.serving.devserver.server import DevelopmentServer


@pytest.fixture(params=["http", "grpc"])
def protocol(request: pytest.FixtureRequest) -> Protocol:
    return request.param


def address(server: DevelopmentServer, protocol: Protocol) -> str:
    return server.url if protocol == "http" else server.grpc_url


def ask(server: DevelopmentServer, protocol: Protocol, inputs: np.ndarray) -> np.ndarray:
    with Client(address(server, protocol), protocol) as client:
        return client.infer(client.model("digits"), {"images": inputs})["probabilities"]


def post(server: DevelopmentServer, body: bytes | dict[str, Any], model: str = "digits") -> tuple[int, str]:
    connection = http.client.HTTPConnection(server.url, timeout=10)
    try:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection.request("POST", f"/v2/models/{model}/infer", content, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def request_of(**changes: Any) -> dict[str, Any]:
    tensor = {"name": "images", "shape": [1, 28, 28, 1], "datatype": "UINT8", "data": [0] * 784}
    return {"inputs": [tensor | changes]}


def counts(server: DevelopmentServer) -> dict[str, float]:
    with urllib.request.urlopen(server.metrics_url) as response:
        lines = response.read().decode().splitlines()
    samples = (line.rsplit(" ", 1) for line in lines if 'model="digits"' in line)
    return {name.partition("{")[0]: float(value) for name, value in samples}


@pytest.mark.parametrize("count", [1, 7, 32])
def test_the_server_answers_as_onnxruntime_does(server: DevelopmentServer, protocol: Protocol, count: int) -> None:
    inputs = images(count, seed=count)
    np.testing.assert_allclose(ask(server, protocol, inputs), answers(convnet(), inputs), rtol=1e-4, atol=1e-6)


def test_metadata_and_labels_can_be_read_by_any_client(server: DevelopmentServer, protocol: Protocol) -> None:
    with Client(address(server, protocol), protocol) as client:
        assert client.models() == ["digits"]
        model = client.model("digits")
        expected = [("images", np.dtype("uint8"), (-1, 28, 28, 1))]
        assert [(each.name, each.dtype, each.shape) for each in model.inputs] == expected
        assert client.labels(model, model.outputs[0], {"images": images(1)}) == LABELS


def test_requests_that_arrive_together_run_together(server: DevelopmentServer) -> None:
    before = counts(server)
    wrong: list[int] = []
    inputs = images(16)
    expected = answers(convnet(), inputs)

    def send(client_number: int) -> None:
        with Client(server.url) as client:
            model = client.model("digits")
            for number in range(40):
                row = (client_number + number) % 16
                got = client.infer(model, {"images": inputs[row : row + 1]})["probabilities"]
                if not np.allclose(got, expected[row : row + 1], rtol=1e-4, atol=1e-6):
                    wrong.append(row)

    threads = [threading.Thread(target=send, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    after = counts(server)
    requests = after["nv_inference_request_success"] - before["nv_inference_request_success"]
    executions = after["nv_inference_exec_count"] - before["nv_inference_exec_count"]
    assert wrong == []
    assert requests == 16 * 40
    assert executions < requests


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (request_of(shape=[1, 14, 14, 1], data=[0] * 196), 400, "unexpected shape for input 'images'"),
        (request_of(shape=[28, 28, 1]), 400, "unexpected shape"),
        (request_of(shape=[33, 28, 28, 1], data=[0] * 33 * 784), 400, "batch-size must be <= 32"),
        (request_of(datatype="FP32"), 400, "data-type is 'FP32', but model 'digits' expects 'UINT8'"),
        (request_of(name="pictures"), 400, "unexpected inference input 'pictures'"),
        ({"inputs": []}, 400, "expected 1 inputs but got 0"),
        (request_of(data=[0] * 783), 400, "input 'images': shape [1, 28, 28, 1] is 784 elements; data has 783"),
        (request_of(data=["a"] * 784), 400, "input 'images': UINT8 data must be whole numbers"),
        (b'{"inputs": [', 400, "the body is not JSON"),
    ],
)
def test_a_bad_request_is_refused_with_a_reason_and_the_next_good_one_answered(
    server: DevelopmentServer, body: bytes | dict[str, Any], status: int, words: str
) -> None:
    answered, reason = post(server, body)
    assert (answered, words in reason) == (status, True), reason
    assert post(server, request_of())[0] == 200


def test_an_unknown_model_is_an_error_that_names_it(server: DevelopmentServer, protocol: Protocol) -> None:
    with Client(address(server, protocol), protocol) as client, pytest.raises(RequestFailed, match="letters"):
        client.model("letters")
    assert post(server, request_of(), model="letters")[0] == 404


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (np.zeros((1, 14, 14, 1), np.uint8), r"takes uint8 \[n, 28, 28, 1\], given uint8 \[1, 14, 14, 1\]"),
        (np.zeros((1, 28, 28, 1), np.float32), r"takes uint8 \[n, 28, 28, 1\], given float32 \[1, 28, 28, 1\]"),
    ],
)
def test_the_client_refuses_what_does_not_fit_before_it_sends(
    server: DevelopmentServer, inputs: np.ndarray, words: str
) -> None:
    with Client(server.url) as client, pytest.raises(BadInput, match=words):
        client.infer(client.model("digits"), {"images": inputs})


def test_no_server_is_an_error_that_names_the_address(protocol: Protocol) -> None:
    with Client("127.0.0.1:1", protocol, timeout=2) as client, pytest.raises(RequestFailed, match=r"127\.0\.0\.1:1"):
        client.model("digits")
