"""The version's own graph, run by plain onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import pytest

from tests.serving import faulty
from tests.serving.graphs import convnet
from tests.serving.versions import images
from trainserve.serving.samples.recorded import Recorded
from trainserve.serving.verification.reference import NoReference, Reference


def recorded(rows: int, batch: int = 1) -> Recorded:
    return Recorded({"images": images(rows)}, {"probabilities": np.empty((rows, 10))}, 1e-3, 1e-5, batch)


def test_a_fixed_batch_takes_any_number_of_rows(tmp_path: Path) -> None:
    onnx.save(convnet(batch=4), tmp_path / "model.onnx")
    onnx.save(convnet(), tmp_path / "free.onnx")
    fixed = Reference(tmp_path / "model.onnx", recorded(8, batch=4)).answers({"images": images(6)})
    free = Reference(tmp_path / "free.onnx", recorded(8)).answers({"images": images(6)})
    np.testing.assert_allclose(fixed["probabilities"], free["probabilities"], rtol=1e-5)


@pytest.mark.parametrize(("precision", "least", "most"), [("fp16", 1e-6, 1e-3), ("int8", 1e-4, 1e-1)])
def test_rounded_weights_answer_a_little_otherwise(
    tmp_path: Path, precision: Literal["fp16", "int8"], least: float, most: float
) -> None:
    model, inputs = faulty.network(), {"images": faulty.images(8)}
    onnx.save(model, tmp_path / "model.onnx")
    reference = Reference(tmp_path / "model.onnx", Recorded(inputs, faulty.answered(inputs), 1e-3, 1e-5))
    difference = np.abs(
        reference.rounded(precision, inputs)["probabilities"] - reference.answers(inputs)["probabilities"]
    )
    assert least < difference.max() < most


def test_what_is_no_graph_is_told(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"nothing")
    reference = Reference(tmp_path / "model.onnx", recorded(2))
    with pytest.raises(NoReference, match="onnxruntime"):
        reference.answers({"images": images(2)})
    with pytest.raises(NoReference, match=r"model\.onnx"):
        reference.rounded("fp16", {"images": images(2)})
