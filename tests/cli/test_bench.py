from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from tests.cli.conftest import Trainserve
from trainserve.cli.target import is_server
from trainserve.serving.devserver.server import DevelopmentServer


@pytest.mark.parametrize("text", ["127.0.0.1:8000", "http://a.b:8000", "grpc://[::1]:8001", "localhost:8000/"])
def test_host_and_port_are_a_server(text: str) -> None:
    assert is_server(text)


@pytest.mark.parametrize(
    "text", ["s3://bucket/default/digits/1", "https://a.b:443/default/digits/1", "model.onnx", ".dev/store/a/b/1"]
)
def test_all_else_is_a_model(text: str) -> None:
    assert not is_server(text)


def test_a_running_server_is_measured_at_each_concurrency(
    trainserve: Trainserve, server: DevelopmentServer, tmp_path: Path
) -> None:
    done = trainserve("bench", server.url, "--concurrency", "1,4", "--seconds", "0.3", "--plot", "a.png", "-o", "json")
    assert done.status == 0, done.err
    told = json.loads(done.out)
    assert (told["model"], told["protocol"]) == ("digits", "http")
    assert [each["load"] for each in told["loads"]] == ["1", "4"]
    for each in told["loads"]:
        assert each["rate"] > 0 and each["errors"] == 0
        assert each["p50_ms"] <= (each["p99_ms"] or each["max_ms"])  # there is no p99 of fewer than 100 requests
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_rate_over_grpc_is_a_table_of_it(trainserve: Trainserve, server: DevelopmentServer) -> None:
    done = trainserve("bench", f"grpc://{server.grpc_url}", "--rate", "50/s", "--seconds", "0.4")
    assert done.status == 0, done.err
    assert "digits over grpc" in done.out and "50/s" in done.out


def test_a_model_is_served_for_the_bench_with_the_settings_given(
    trainserve: Trainserve, root: Path, tmp_path: Path
) -> None:
    (tmp_path / "settings.yaml").write_text("instances: 1\ndynamicBatching: {maxBatch: 4}\n")
    version = root / "default/digits/1"
    done = trainserve(
        "bench", version, "--settings", "settings.yaml", "--concurrency", "2", "--seconds", "0.3", "-o", "json"
    )
    assert done.status == 0, done.err
    assert json.loads(done.out)["loads"][0]["rate"] > 0


def identity(path: Path, name: str, kind: int) -> Path:
    """Write a graph that returns a table of any size unchanged."""
    tables = [helper.make_tensor_value_info(each, kind, ["batch", "length"]) for each in (name, "same")]
    graph = helper.make_graph([helper.make_node("Identity", [name], ["same"])], "g", tables[:1], tables[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8), path)
    return path


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_model_of_text_is_measured_with_words_that_are_made_up(
    trainserve: Trainserve, tmp_path: Path, protocol: str
) -> None:
    graph = identity(tmp_path / "words.onnx", "words", TensorProto.STRING)
    options = ["--shape", "words:2,3", "--protocol", protocol, "--concurrency", "1", "--seconds", "0.2", "-o", "json"]
    done = trainserve("bench", graph, *options)
    assert done.status == 0, done.err
    (load,) = json.loads(done.out)["loads"]
    assert load["rate"] > 0 and load["errors"] == 0


def test_an_axis_of_any_length_is_asked_for_and_then_checked(trainserve: Trainserve, tmp_path: Path) -> None:
    graph = identity(tmp_path / "tokens.onnx", "tokens", TensorProto.INT64)
    for options, words in (
        ([], "input tokens: shape [-1, -1] has an axis of any length"),
        (["--shape", "token:1,8"], "--shape: the model has no input token; its inputs are tokens"),
        (["--shape", "tokens:8"], "--shape: input tokens: shape [8] is not one that it takes, [-1, -1]"),
        (["--shape", "tokens"], "'tokens' is not an input's name and shape, such as tokens:1,128"),
    ):
        done = trainserve("bench", graph, *options)
        assert (done.status, done.out) == (2, "")
        assert words in done.err and done.err.count("\n") == 1
    assert "--shape" in trainserve("bench", graph).err


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["127.0.0.1:1"], 1, "127.0.0.1:1"),
        (["/nowhere/1"], 2, "/nowhere/1"),
        (["127.0.0.1:1", "--rate", "5", "--concurrency", "1"], 2, "either --concurrency or --rate"),
        (["127.0.0.1:1", "--rate", "0"], 2, "'0' is not a rate in requests per second, such as 500/s"),
        (["127.0.0.1:1", "--concurrency", "1,0"], 2, "'1,0' is not a list of numbers from 1 to 512"),
        (["127.0.0.1:1", "--constant"], 2, "--constant requires --rate"),
        (["127.0.0.1:1", "--plot", "a.pdf"], 2, "a plot is written as .svg or .png"),
        (["a/model.onnx", "--model", "digits"], 2, "--model requires the URL of a server"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(
    trainserve: Trainserve, arguments: list[str], status: int, words: str
) -> None:
    done = trainserve("bench", *arguments)
    assert (done.status, done.out) == (status, "")
    assert words in done.err and done.err.count("\n") == 1
