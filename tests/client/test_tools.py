"""Third-party clients work unmodified, through any proxy: tritonclient, curl and perf_analyzer."""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.grpc.aio
import tritonclient.http
import tritonclient.http.aio
from tritonclient.utils import InferenceServerException

from tests.client import tools
from tests.serving.graphs import convnet
from tests.serving.versions import LABELS, answers, images
from trainserve.client import Protocol, binary
from trainserve.serving.devserver.server import DevelopmentServer

COUNT = 5


def address(server: DevelopmentServer, protocol: Protocol) -> str:
    return server.url if protocol == "http" else server.grpc_url


def tensors(protocol: Protocol, array: np.ndarray[Any, Any], **wanted: int) -> tuple[list[Any], list[Any]]:
    """Return tritonclient's input and requested output."""
    library = tritonclient.http if protocol == "http" else tritonclient.grpc
    given = library.InferInput("images", list(array.shape), "UINT8")
    given.set_data_from_numpy(array)
    return [given], [library.InferRequestedOutput("probabilities", **wanted)]


def test_tritonclient_gets_the_right_answers(server: DevelopmentServer, protocol: Protocol) -> None:
    library = tritonclient.http if protocol == "http" else tritonclient.grpc
    with library.InferenceServerClient(address(server, protocol)) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("digits")
        given, wanted = tensors(protocol, images(COUNT))
        got = client.infer("digits", given, outputs=wanted).as_numpy("probabilities")
        np.testing.assert_allclose(got, answers(convnet(), images(COUNT)), rtol=1e-4, atol=1e-6)


async def test_tritonclient_for_asyncio_gets_the_right_answers(server: DevelopmentServer, protocol: Protocol) -> None:
    library = tritonclient.http.aio if protocol == "http" else tritonclient.grpc.aio
    async with library.InferenceServerClient(address(server, protocol)) as client:
        given, wanted = tensors(protocol, images(COUNT))
        result = await client.infer("digits", given, outputs=wanted)
        expected = answers(convnet(), images(COUNT))
        np.testing.assert_allclose(result.as_numpy("probabilities"), expected, rtol=1e-4, atol=1e-6)


def test_tritonclient_gets_labels_by_the_classification_extension(
    server: DevelopmentServer, protocol: Protocol
) -> None:
    library = tritonclient.http if protocol == "http" else tritonclient.grpc
    with library.InferenceServerClient(address(server, protocol)) as client:
        given, wanted = tensors(protocol, images(1), class_count=1)
        (found,) = client.infer("digits", given, outputs=wanted).as_numpy("probabilities").reshape(-1)
    assert found.decode().split(":")[2] == LABELS[answers(convnet(), images(1))[0].argmax()]


def test_tritonclient_sends_many_requests_at_once(server: DevelopmentServer) -> None:
    with tritonclient.http.InferenceServerClient(server.url, concurrency=8) as client:
        pending = []
        for row in range(32):
            given, wanted = tensors("http", images(32)[row : row + 1])
            pending.append(client.async_infer("digits", given, outputs=wanted))
        got = np.concatenate([each.get_result().as_numpy("probabilities") for each in pending])
    np.testing.assert_allclose(got, answers(convnet(), images(32)), rtol=1e-4, atol=1e-6)


def test_tritonclient_is_told_what_is_wrong(server: DevelopmentServer, protocol: Protocol) -> None:
    library = tritonclient.http if protocol == "http" else tritonclient.grpc
    with library.InferenceServerClient(address(server, protocol)) as client:
        given, wanted = tensors(protocol, np.zeros((1, 14, 14, 1), np.uint8))
        with pytest.raises(InferenceServerException, match="unexpected shape for input 'images'"):
            client.infer("digits", given, outputs=wanted)


def ask_curl(server: DevelopmentServer, *arguments: str) -> tuple[int, dict[str, str], bytes]:
    """Send a request to `digits` with curl; return the answer's status, headers and body."""
    url = f"http://{server.url}/v2/models/digits/infer"
    command = [tools.curl(), "--silent", "--show-error", "--include", "--http1.1", "--max-time", "30", *arguments, url]
    head, _, body = subprocess.run(command, capture_output=True, check=True).stdout.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return int(first.split()[1]), dict(line.lower().split(": ", 1) for line in lines), body


def test_curl_asks_in_json(server: DevelopmentServer, tmp_path: Path) -> None:
    pixels = images(2)
    tensor = {"name": "images", "shape": list(pixels.shape), "datatype": "UINT8", "data": pixels.reshape(-1).tolist()}
    (tmp_path / "request.json").write_text(json.dumps({"inputs": [tensor]}))
    json_type = ["--header", "Content-Type: application/json"]
    status, _, body = ask_curl(server, *json_type, "--data", f"@{tmp_path / 'request.json'}")
    (output,) = json.loads(body)["outputs"]
    assert (status, output["name"], output["shape"]) == (200, "probabilities", [2, 10])
    expected = answers(convnet(), pixels).reshape(-1)
    np.testing.assert_allclose(output["data"], expected, rtol=1e-4, atol=1e-6)


def test_curl_sends_the_binary_form_with_the_content_type_it_gives_every_form(
    server: DevelopmentServer, tmp_path: Path
) -> None:
    length, body = binary.encode({"images": images(3)}, [binary.Wanted("probabilities")])
    (tmp_path / "request").write_bytes(body)
    header = f"Inference-Header-Content-Length: {length}"
    status, headers, content = ask_curl(server, "--header", header, "--data-binary", f"@{tmp_path / 'request'}")
    assert status == 200
    got = binary.decode(content, int(headers["inference-header-content-length"]))
    np.testing.assert_allclose(got["probabilities"], answers(convnet(), images(3)), rtol=1e-4, atol=1e-6)


def test_curl_is_told_what_is_wrong(server: DevelopmentServer) -> None:
    status, _, body = ask_curl(server, "--data", '{"inputs": []}')
    assert (status, "expected 1 inputs but got 0" in json.loads(body)["error"]) == (400, True)


def counted(server: DevelopmentServer, outcome: str) -> int:
    """Return how many requests for the model the server reports as answered: `success` or `fail`."""
    with tritonclient.http.InferenceServerClient(server.url) as client:
        (model,) = client.get_inference_statistics("digits")["model_stats"]
    return int(model["inference_stats"][outcome].get("count", 0))


def test_perf_analyzer_measures_the_server(server: DevelopmentServer, protocol: Protocol) -> None:
    answered, failed = counted(server, "success"), counted(server, "fail")
    finished = tools.perf_analyzer().run(
        *("-m", "digits", "-i", protocol, "-u", address(server, protocol)),
        *("--request-count", "100", "--concurrency-range", "4"),
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert re.search(r"Client: \n\s+Request count: 100\b", finished.stdout), finished.stdout
    # Its own count may lack the last request: the server counts a request after it has answered it.
    until = time.monotonic() + 10
    while counted(server, "success") < answered + 100 and time.monotonic() < until:
        time.sleep(0.01)
    assert counted(server, "success") == answered + 100
    assert counted(server, "fail") == failed
