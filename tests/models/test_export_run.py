"""Whole runs with further export options: what they publish and report, and what prevents publishing."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainserve.models.errors import GateNotMet, UserError

Execute = Callable[[dict[str, Any]], dict[str, Any]]


def config(root: Path, data: Path, **sections: Any) -> dict[str, Any]:
    return {
        "store": {"root": str(root)},
        "model": {"name": "convnet", "options": {"channels": 4, "hidden": 16}},
        "dataset": {"path": str(data)},
        "trainer": {"epochs": 20, "batchSize": 16, "learningRate": 0.01},
        "output": {"model": "stripes"},
        **sections,
    }


def test_a_run_in_int8_publishes_what_its_file_is_and_how_right(
    execute: Execute, stripes: Callable[..., Path], tmp_path: Path
) -> None:
    export = {"precision": "int8", "topK": 2, "input": "tensor"}
    message = execute(config(tmp_path / "store", stripes(), export=export, gates={"minAccuracy": 0.9}))
    folder = tmp_path / "store/default/stripes/1"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert message["artifact"]["precision"] == manifest["precision"] == "int8"
    assert message["result"]["exportedAccuracy"] == manifest["metrics"]["exportedAccuracy"] >= 0.9
    assert message["result"]["exportedLoss"] == manifest["metrics"]["exportedLoss"] < 0.5
    assert manifest["inputs"] == [{"name": "tensor", "dtype": "float32", "shape": [-1, 1, 8, 8], "indexes": None}]
    assert manifest["preprocessing"]["by"] == "client"
    assert [(each["name"], each["dtype"], each["shape"], each["indexes"]) for each in manifest["outputs"]] == [
        ("probabilities", "float32", [-1, 3], None),
        ("top_probabilities", "float32", [-1, 2], None),
        ("top_labels", "int64", [-1, 2], "probabilities"),
    ]
    assert (manifest["parity"]["rtol"], manifest["parity"]["atol"]) == (0.0, 0.5)
    assert manifest["spec"]["export"] == {"opset": 18, "dynamicBatch": True, "parity": {}, **export}
    with np.load(folder / "samples.npz") as samples:
        assert {name: (array.dtype.name, array.shape[1:]) for name, array in samples.items()} == {
            "tensor": ("float32", (1, 8, 8)),
            "probabilities": ("float32", (3,)),
            "top_probabilities": ("float32", (2,)),
            "top_labels": ("int64", (2,)),
            "labels": ("int64", ()),
        }


def test_a_file_that_misses_its_gate_is_not_published(
    execute: Execute, stripes: Callable[..., Path], tmp_path: Path
) -> None:
    asked = config(tmp_path / "store", stripes(), export={"precision": "fp16"}, gates={"maxLoss": 1e-9})
    with pytest.raises(GateNotMet, match=r"gates.maxLoss: loss of the exported file .* is above 1e-09"):
        execute(asked)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"export": {"topK": 4}}, r"export.topK: 4 is not allowed; must be 1 to 3, the number of classes"),
        (
            {"dataset": {"task": "regression"}, "gates": {"minAccuracy": 0.5}},
            r"gates.minAccuracy: 0.5 is not allowed; a regression has no accuracy",
        ),
    ],
)
def test_what_the_data_set_does_not_allow_is_refused_before_training(
    execute: Execute,
    stripes: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    sections: dict[str, Any],
    words: str,
) -> None:
    y = np.linspace(0, 1, 60, dtype=np.float32) if "dataset" in sections else np.arange(60) % 3
    asked = config(tmp_path / "store", stripes(y=y))
    for name, fields in sections.items():
        asked[name] = {**asked.get(name, {}), **fields}
    with pytest.raises(UserError, match=words):
        execute(asked)
    assert "epoch" not in capsys.readouterr().out
