"""`trainserve serve` with graphs that are not image classifiers: they become ready and stay ready."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.serving import odd_graphs
from tests.serving.serving import Serving, run, wait_until
from trainserve.serving.devserver.keeper import Keeper
from trainserve.serving.devserver.server import free_ports
from trainserve.serving.devserver.supervisor import Change, Supervisor
from trainserve.serving.protocol.control import Control
from trainserve.serving.repository.flags import server_flags

pytestmark = pytest.mark.xdist_group("serve")

LONE = {
    "logarithms": odd_graphs.logarithms(),
    "words": odd_graphs.words(),
    "image-and-size": odd_graphs.image_and_size(),
    "size-and-image": odd_graphs.image_and_size(size_first=True),
    "reshape": odd_graphs.reshape(),
    "found": odd_graphs.found(),
}
SEQUENCES = """backend: "onnxruntime"
max_batch_size: 4
input [{name: "x" data_type: TYPE_INT32 dims: [1]}]
output [{name: "y" data_type: TYPE_INT32 dims: [1]}]
sequence_batching {
  max_sequence_idle_microseconds: 1000000
  control_input [{name: "begins" control [{kind: CONTROL_SEQUENCE_START int32_false_true: [0, 1]}]}]
}
"""


def asked(running: Serving, model: str) -> int:
    """Return how many requests the model has answered, failures included; only the watcher sends any."""
    return Control(f"127.0.0.1:{running.ports[0]}", 10).finished(model)


def steady(running: Serving, *models: str) -> None:
    """Assert that the watcher keeps querying each model and that no line ever reports one as not ready."""
    running.wait_for_all(*(f"{model}: ready" for model in models))
    before = {model: asked(running, model) for model in models}
    wait_until(lambda: all(asked(running, model) >= before[model] + 4 for model in models), 60)
    said = [*running.said, *running.lines.queue]
    assert [line for line in said if ": " in line and ": ready" not in line] == []


def test_lone_graphs_of_all_kinds_are_ready_and_stay_so(command: Path, tmp_path: Path) -> None:
    for name, model in LONE.items():
        onnx.save(model, tmp_path / f"{name}.onnx")
    running = Serving(*(tmp_path / f"{name}.onnx" for name in LONE))
    try:
        steady(running, *LONE)
        (line,) = [line for line in running.said if line.startswith("reshape: ready")]
        assert "answers synthetic inputs with an error" in line
    finally:
        running.kill()


def test_a_model_of_sequences_is_asked_sequences_of_its_own(command: Path, tmp_path: Path) -> None:
    values = [helper.make_tensor_value_info(name, TensorProto.INT32, [None, 1]) for name in ("x", "begins", "y")]
    graph = helper.make_graph([helper.make_node("Add", ["x", "begins"], ["y"])], "sum", values[:2], values[2:])
    folder = tmp_path / "models/sum"
    (folder / "1").mkdir(parents=True)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "1/model.onnx"
    )
    (folder / "config.pbtxt").write_text(SEQUENCES)
    running = Serving(tmp_path / "models")
    try:
        steady(running, "sum")
    finally:
        running.kill()


def test_given_samples_say_whether_a_lone_graph_is_right(command: Path, tmp_path: Path) -> None:
    onnx.save(odd_graphs.image_and_size(), tmp_path / "net.onnx")
    inputs: dict[str, Any] = {"image": np.full((1, 3, 4, 4), 2.0), "size": np.array([3.0, 5.0])}
    np.savez(tmp_path / "right.npz", **inputs, scaled=np.array([6.0, 10.0]))
    np.savez(tmp_path / "wrong.npz", **inputs, scaled=np.array([6.0, 11.0]))
    np.savez(tmp_path / "few.npz", image=inputs["image"])
    running = Serving(tmp_path / "net.onnx", "--samples", tmp_path / "right.npz")
    try:
        assert "1 sample, max abs difference 0" in running.wait_for("net: ready")
    finally:
        running.kill()
    ports = [f"--{name}-port={port}" for name, port in zip(("http", "grpc", "metrics"), free_ports(3), strict=True)]
    status, lines = run(tmp_path / "net.onnx", "--samples", tmp_path / "wrong.npz", *ports)
    assert status == 1
    assert "net: it gives wrong answers and was unloaded" in lines[-1]
    assert "output scaled, expected [6, 11], got [6, 10]" in lines[-1]
    status, lines = run(tmp_path / "net.onnx", "--samples", tmp_path / "few.npz", *ports)
    assert (status, len(lines)) == (2, 1)
    assert "no array for input size; there: image" in lines[0]


def test_what_a_server_says_of_a_model_that_it_does_not_take_is_told(command: Path, tmp_path: Path) -> None:
    onnx.save(odd_graphs.logarithms(), tmp_path / "net.onnx")
    (tmp_path / "settings.yaml").write_text(
        "overrides: {max_batch_size: 4, dynamic_batching: {preferred_batch_size: [9]}}\n"
    )
    ports = [f"--{name}-port={port}" for name, port in zip(("http", "grpc", "metrics"), free_ports(3), strict=True)]
    status, lines = run(tmp_path / "net.onnx", "--settings", tmp_path / "settings.yaml", *ports)
    assert status == 1
    assert lines[-1].startswith("trainserve: net: ")
    assert "dynamic batching preferred size must be <= max batch size for net" in lines[-1]


def test_a_watcher_that_fails_says_so_and_goes_on(
    command: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "models/net"
    (folder / "1").mkdir(parents=True)
    onnx.save(odd_graphs.logarithms(), folder / "1/model.onnx")
    (folder / "config.pbtxt").write_text('backend: "onnxruntime"')
    http_port, grpc_port, metrics_port = free_ports(3)
    ports = [f"--http-port={http_port}", f"--grpc-port={grpc_port}", f"--metrics-port={metrics_port}"]
    flags = server_flags(tmp_path / "models", "127.0.0.1", [], supervised=True, described=False)
    changes: list[Change] = []
    stopped = threading.Event()
    failed: list[Keeper] = []

    def tell(change: Change) -> None:
        changes.append(change)
        if change.state in ("ready", "failed"):
            stopped.set()

    supervisor = Supervisor(
        [str(command), *flags, *ports],
        tmp_path / "models",
        tmp_path / "log",
        f"127.0.0.1:{http_port}",
        {"net": None},
        tell,
    )
    verify = Keeper._verify

    def fails_once(keeper: Keeper) -> object:
        if not failed:
            failed.append(keeper)
            raise IndexError("list index out of range")
        return verify(keeper)

    monkeypatch.setattr(Keeper, "_verify", fails_once)
    supervisor.run(stopped)
    own = [change for change in changes if change.model == "net"]
    assert [change.state for change in own] == ["unwatched", "ready"]
    assert "IndexError" in own[0].message
