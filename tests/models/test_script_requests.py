"""Graphs of a script that are not batchable, or have scalar tensors: published only with what a server needs to know,
and with samples that onnxruntime reproduces one request at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from tests.batching.graphs import B, model, node, numbers, tensor, weight
from trainserve import store
from trainserve.models.errors import ParityFailed, UserError
from trainserve.models.script import own_graph
from trainserve.models.script.config import parse
from trainserve.models.script.own_graph import OwnGraph
from trainserve.serving.repository import repository
from trainserve.serving.repository.settings import Settings
from trainserve.serving.samples.recorded import Recorded
from trainserve.serving.sources.servable import Servable

X, Y = tensor("x", [B, 4]), tensor("y", [B, 4])
GRU = [node("GRU", "x w r", "all last", hidden_size=3), node("Squeeze", "all one", "y")]
GRU_WEIGHTS = [weight("w", 1, 9, 4), weight("r", 1, 9, 3), numbers("one", [1])]
GRAPHS: dict[str, tuple[onnx.ModelProto, str]] = {
    "confidence and class": (
        model([node("ReduceMax", "x one", "c", keepdims=0), node("ArgMax", "x", "k", axis=1, keepdims=0)], [X],
              [tensor("c", [B]), tensor("k", [B], 7)], [numbers("one", [1])]),
        "first",
    ),
    "a sequence": (model(GRU, [tensor("x", ["time", 1, 4])], [tensor("y", ["time", 1, 3])], GRU_WEIGHTS), "none"),
    "a running sum": (model([node("CumSum", "x zero", "y")], [X], [Y], [numbers("zero", 0)]), "none"),
    "a threshold": (model([node("Sub", "x t", "y")], [X, tensor("t", [])], [Y]), "none"),
    "a mean for all": (model([node("ReduceMean", "x", "m", keepdims=0)], [X], [tensor("m", [])]), "none"),
    "a fixed batch": (model([node("Relu", "x", "y")], [tensor("x", [2, 4])], [tensor("y", [2, 4])]), "none"),
    "an image and its size": (
        model([node("Mul", "x s", "y")], [tensor("x", [1, 2]), tensor("s", [2])], [tensor("y", [1, 2])]), "none"
    ),
    "what is found": (
        model([node("NonZero", "x", "p"), node("Transpose", "p", "y")], [X], [tensor("y", ["found", 2], 7)]), "none"
    ),
    "sequences of any length": (
        model([node("ReduceMax", "x one", "y", keepdims=0)], [tensor("x", [B, "length", 4])], [Y],
              [numbers("one", [1])]),
        "first",
    ),
    "a text for each row": (
        model([node("LinearClassifier", "x", "y p", domain="ai.onnx.ml", classlabels_strings=["a", "b", "c"],
                    coefficients=[float(at % 5) for at in range(12)], intercepts=[0.0] * 3)],
              [X], [tensor("y", [B], 8), tensor("p", [B, 3])], ai_onnx_ml=1),
        "first",
    ),
}  # fmt: skip


def taken(tmp_path: Path, graph: onnx.ModelProto, **samples: Any) -> OwnGraph:
    onnx.save(graph, tmp_path / "model.onnx")
    if samples:
        np.savez(tmp_path / "samples.npz", **samples)
    return own_graph.take(tmp_path, parse({"model": {"script": "a.py"}}, tmp_path))


def answered(made: OwnGraph, tmp_path: Path) -> Recorded:
    """Publish the version, send its samples to onnxruntime as a probe sends them to a server, and return them."""
    files = made.record(tmp_path)
    draft = made.draft(
        parse({"model": {"script": "a.py"}}, tmp_path),
        store.Metrics(accuracy=None, loss=None),
        store.Energy(joules=None, source="none", reason="not measured"),
    )
    published = store.publish(tmp_path / "store", "default", "mine", files, draft)
    version = tmp_path / "store/default/mine" / str(published.version)
    recorded = Recorded.load(version, 64)
    session = onnxruntime.InferenceSession(version / "model.onnx")
    answers = []
    for rows in recorded.requests(recorded.batch):
        found = session.run(recorded.names, recorded.sent(rows))
        answers.append(dict(zip(recorded.names, found, strict=True)))
    compared = recorded.compare(recorded.joined(answers))
    assert compared.matches, compared.message
    (folder,) = repository.layout(repository.entries([Servable.of_version(version)], Settings()))
    assert (folder.config.max_batch_size > 0) == (made.batching.axis == "first")
    assert all(each.dims for each in (*folder.config.input, *folder.config.output))
    return recorded


@pytest.mark.parametrize(("graph", "axis"), GRAPHS.values(), ids=GRAPHS.keys())
def test_what_is_published_can_be_served_and_verified(tmp_path: Path, graph: onnx.ModelProto, axis: str) -> None:
    made = taken(tmp_path, graph)
    assert (made.batching.axis, made.parity.reference) == (axis, "none")
    answered(made, tmp_path)
    made.batch(16)()  # what a report measures


def run(graph: onnx.ModelProto, **inputs: np.ndarray) -> np.ndarray:
    return onnxruntime.InferenceSession(graph.SerializeToString()).run(None, inputs)[0]


def test_a_sequence_that_the_script_recorded_is_one_request(tmp_path: Path) -> None:
    graph, x = GRAPHS["a sequence"][0], np.random.default_rng(0).normal(size=(7, 1, 4)).astype(np.float32)
    made = taken(tmp_path, graph, x=x, y=run(graph, x=x))
    assert (made.parity.reference, made.parity.samples) == ("script", 1)
    assert answered(made, tmp_path).inputs["x"].shape == (1, 7, 1, 4)


def test_rows_that_the_script_asked_for_one_by_one_are_so_many_requests(tmp_path: Path) -> None:
    graph, x = GRAPHS["a running sum"][0], np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    made = taken(tmp_path, graph, x=x, y=x)
    assert made.parity.samples == 5
    assert answered(made, tmp_path).inputs["x"].shape == (5, 1, 4)


def test_several_requests_may_be_recorded_below_each_other(tmp_path: Path) -> None:
    graph, x = GRAPHS["a threshold"][0], np.ones((3, 2, 4), np.float32)
    made = taken(
        tmp_path, graph, x=x, t=np.arange(3, dtype=np.float32), y=x - np.arange(3).reshape(3, 1, 1).astype("f")
    )
    assert made.parity.samples == 3
    answered(made, tmp_path)


def test_a_request_that_is_answered_otherwise_is_refused(tmp_path: Path) -> None:
    graph, x = GRAPHS["a running sum"][0], np.ones((5, 4), np.float32)
    with pytest.raises(ParityFailed, match=r"model\.onnx: y differs from samples\.npz by up to"):
        taken(tmp_path, graph, x=x, y=x + 1)


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        ({"x": np.ones((2, 4), np.float32)}, r"samples\.npz: no array 'm'; found x"),
        ({"x": np.ones((2, 3), np.float32), "m": np.float32(1)}, r"x is float32 \[2, 3\]; must be float32 \[-1, 4\]"),
        ({"x": np.ones((3, 2, 4), np.float32), "m": np.ones(2, np.float32)}, r"found x 3, m 2"),
    ],
)
def test_requests_that_do_not_fit_are_refused_by_the_arrays_name(
    tmp_path: Path, samples: dict[str, np.ndarray], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        taken(tmp_path, GRAPHS["a mean for all"][0], **samples)
