"""What the parity check compares, and which errors it detects."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from trainserve.models import parity
from trainserve.models.config import Export
from trainserve.models.errors import ParityFailed
from trainserve.models.export import Exported
from trainserve.models.graph import Graph
from trainserve.models.parity import Tolerance
from trainserve.models.session import Session

from .exporting import dataset, exported, graph, linear

DATA = dataset()
TOP = graph(DATA, linear(DATA), topK=2)
BOUND = Tolerance(1e-3, 1e-5)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Graph, Exported]:
    return exported(DATA, linear(DATA), tmp_path_factory.mktemp("export"))


def test_it_is_measured_on_256_real_samples_of_the_test_split(plain: tuple[Graph, Exported]) -> None:
    compared = parity.measure(plain[0], Session(plain[1].path), DATA, Export())
    assert len(compared.given) == len(compared.targets) == 256
    assert (compared.given[-1] == DATA.test_images[-1]).all()
    assert 0 < compared.max_abs < 1e-5


def test_it_takes_all_samples_there_are_when_they_are_few(plain: tuple[Graph, Exported]) -> None:
    few = replace(
        DATA,
        train_images=DATA.train_images[:20],
        train_targets=DATA.train_targets[:20],
        test_images=DATA.test_images[:5],
        test_targets=DATA.test_targets[:5],
    )
    assert len(parity.measure(plain[0], Session(plain[1].path), few, Export()).given) == 25


def test_weights_changed_after_the_export_fail(plain: tuple[Graph, Exported], tmp_path: Path) -> None:
    model = onnx.load(plain[1].path)
    bias = next(tensor for tensor in model.graph.initializer if list(tensor.dims) == [5])
    changed = onnx.numpy_helper.to_array(bias) + np.eye(5, dtype=np.float32)[3]
    bias.CopyFrom(onnx.numpy_helper.from_array(changed, bias.name))
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(ParityFailed, match=r"export.parity: onnxruntime differs .* probabilities 3\)"):
        parity.measure(plain[0], Session(tmp_path / "model.onnx"), DATA, Export())


def test_answers_that_are_no_numbers_fail(tmp_path: Path) -> None:
    body = linear(DATA)
    with torch.no_grad():
        body.get_parameter("1.bias").fill_(float("nan"))
    made, file = exported(DATA, body, tmp_path)
    with pytest.raises(ParityFailed, match=r"PyTorch's own output is nan for 256 of 256 samples \(probabilities, "):
        parity.measure(made, Session(file.path), DATA, Export())


def test_what_the_user_tolerates_wins() -> None:
    given = Export.model_validate({"parity": {"rtol": 0.5}})
    assert parity.tolerance(given) == Tolerance(0.5, 1e-5)
    assert parity.tolerance(Export()) == Tolerance(1e-3, 1e-5)


def answers(probabilities: list[float], labels: list[int]) -> dict[str, np.ndarray]:
    row = np.array([probabilities], np.float32)
    return {"probabilities": row, "top_probabilities": np.sort(row)[:, :-3:-1], "top_labels": np.array([labels])}


def test_of_two_classes_as_good_as_equal_either_may_come_first() -> None:
    expected = answers([0.1, 0.2, 0.3, 0.200001, 0.199999], [2, 3])
    got = answers([0.1, 0.200001, 0.3, 0.2, 0.199999], [2, 1])
    absolute, _ = parity.compare(TOP, expected, got, BOUND)
    assert 0 < absolute < 1e-5


@pytest.mark.parametrize(("labels", "words"), [([2, 0], r"top_labels 1\)"), ([2, 2], "names a class twice")])
def test_a_wrong_class_among_the_top_fails(labels: list[int], words: str) -> None:
    row = [0.1, 0.2, 0.3, 0.21, 0.19]
    with pytest.raises(ParityFailed, match=words):
        parity.compare(TOP, answers(row, [2, 3]), answers(row, labels), BOUND)
