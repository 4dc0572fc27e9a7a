"""A classifier with logits as output, queried through the command line: the values are called scores."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.cli.conftest import Trainserve
from tests.serving.versions import images
from trainserve.serving.devserver.server import DevelopmentServer
from trainserve.serving.repository import repository
from trainserve.serving.repository.repository import Entry
from trainserve.serving.sources import source


@pytest.fixture
def logits(tmp_path: Path, start: Callable[..., DevelopmentServer]) -> DevelopmentServer:
    """A server of a graph from uint8 images (N, 28, 28, 1) to the mean of each of their 28 columns, from 0 to 255."""
    nodes = [
        helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float"], ["scores"], axes=[1, 3], keepdims=0),
    ]
    tensors = (
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", 28, 28, 1])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 28])],
    )
    made = helper.make_graph(nodes, "logits", *tensors)
    path = tmp_path / "columns.onnx"
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 15)], ir_version=8), path)
    model = source.open_servable(str(path))
    repository.write([Entry(model.name, model)], tmp_path / "models")
    return start(tmp_path / "models")


def test_logits_are_called_scores_in_every_form(
    trainserve: Trainserve, logits: DevelopmentServer, tmp_path: Path
) -> None:
    pixels = images(1)
    np.save(tmp_path / "one.npy", pixels)
    means = pixels[0].astype(np.float32).mean(axis=(0, 2))
    table, document, lines = (
        trainserve("predict", "one.npy", "--url", logits.url, "-o", form).out for form in ("table", "json", "csv")
    )
    assert table.splitlines()[0].split() == ["FILE", "ROW", "LABEL", "SCORE"]
    (seen,) = json.loads(document)
    assert seen["score"] == pytest.approx(float(means.max()), rel=1e-5) and "probability" not in seen
    assert lines.splitlines()[0] == "file,row,rank,label,score"
