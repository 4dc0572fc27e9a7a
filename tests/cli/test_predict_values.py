"""A regression model, queried through the command line."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.cli.conftest import Trainserve
from tests.serving.versions import fetch, images
from trainserve import store
from trainserve.serving.devserver.server import DevelopmentServer
from trainserve.serving.repository.settings import Settings
from trainserve.store import ManifestDraft, Metrics, Parity, Preprocessing, Tensor, TrainJobRef

LABELS = ["brightness", "contrast"]


def graph() -> onnx.ModelProto:
    """Return a graph from uint8 images (batch, 28, 28, 1) to float32 values (batch, 2): their mean and their range."""
    nodes = [
        helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["float"], ["flat"]),
        helper.make_node("ReduceMean", ["flat"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("ReduceMax", ["flat"], ["most"], axes=[1], keepdims=1),
        helper.make_node("ReduceMin", ["flat"], ["least"], axes=[1], keepdims=1),
        helper.make_node("Sub", ["most", "least"], ["range"]),
        helper.make_node("Concat", ["mean", "range"], ["values"], axis=1),
    ]
    tensors = (
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", 28, 28, 1])],
        [helper.make_tensor_value_info("values", TensorProto.FLOAT, ["batch", 2])],
    )
    made = helper.make_graph(nodes, "values", *tensors)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def truth(pixels: np.ndarray) -> np.ndarray:
    flat = pixels.reshape(len(pixels), -1).astype(np.float32)
    return np.stack([flat.mean(axis=1), flat.max(axis=1) - flat.min(axis=1)], axis=1)


@pytest.fixture
def regression(tmp_path: Path, start: Callable[..., DevelopmentServer]) -> DevelopmentServer:
    onnx.save(graph(), tmp_path / "model.onnx")
    np.savez(tmp_path / "samples.npz", images=images(4), values=truth(images(4)))
    draft = ManifestDraft(
        opset=17,
        ir_version=10,
        inputs=[Tensor(name="images", dtype="uint8", shape=[-1, 28, 28, 1])],
        outputs=[Tensor(name="values", dtype="float32", shape=[-1, 2])],
        labels=LABELS,
        preprocessing=Preprocessing(scale=1.0, mean=[0.0], std=[1.0]),
        metrics=Metrics(accuracy=None, loss=0.1),
        parity=Parity(max_abs=0.0, max_rel=0.0, rtol=1e-3, atol=1e-5, samples=4),
        train_job=TrainJobRef(name="light"),
        spec={},
    )
    files = {name: tmp_path / name for name in ("model.onnx", "samples.npz")}
    version = store.publish(tmp_path / "store", "default", "light", files, draft)
    into = tmp_path / "fetched"
    outcome = fetch(tmp_path / "store", "light", 1, version.digest, into, Settings())
    assert outcome.outcome == "Fetched", outcome
    return start(into / "repository", "--disable-auto-complete-config")


def test_a_regressions_values_have_a_column_each(
    trainserve: Trainserve, regression: DevelopmentServer, tmp_path: Path
) -> None:
    np.save(tmp_path / "three.npy", images(3, seed=4))
    expected = truth(images(3, seed=4))
    table, document, lines = (
        trainserve("predict", "three.npy", "--url", regression.url, "-o", form).out for form in ("table", "json", "csv")
    )
    assert table.splitlines()[0].split() == ["FILE", "ROW", "BRIGHTNESS", "CONTRAST"]
    for each, row in zip(json.loads(document), expected, strict=True):
        assert each["values"] == pytest.approx(dict(zip(LABELS, row, strict=True)))
    rows = [[float(each[label]) for label in LABELS] for each in csv.DictReader(StringIO(lines))]
    np.testing.assert_allclose(rows, expected, rtol=1e-5)
    refused = trainserve("predict", "three.npy", "--url", regression.url, "--top", 2)
    assert (refused.status, refused.err.split(" (see")[0]) == (
        2,
        "trainserve: --top applies to classes only; model light predicts values",
    )
