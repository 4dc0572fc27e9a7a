"""The model that a script leaves: checked like every model, refused if it does not fit."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from trainserve import store
from trainserve.models.config import Export
from trainserve.models.errors import GateNotMet, ParityFailed, UserError
from trainserve.models.script import own_graph
from trainserve.models.script.config import parse
from trainserve.models.script.network import Adopted, adopt
from trainserve.models.script.running import Left

from .conftest import RunScript
from .scripts import EXPORT, MODEL, PUBLISH, SAMPLES


def manifest(tmp_path: Path) -> store.Manifest:
    return store.manifest(tmp_path / "store", "default", "mine", 1)


def test_a_gate_needs_a_measured_accuracy(run_script: RunScript) -> None:
    with pytest.raises(GateNotMet, match=r"gates\.minAccuracy: no accuracy was measured"):
        run_script(MODEL + EXPORT, gates={"minAccuracy": 0.5})


def test_samples_that_it_trained_on_say_nothing_of_its_accuracy(run_script: RunScript, tmp_path: Path) -> None:
    fitted = """
    import dataclasses
    from trainserve.models.script import running
    running.current.left = dataclasses.replace(running.current.left, held_out=False)
    """
    assert run_script(PUBLISH + fitted, export={"precision": "fp16"})["result"]["accuracy"] is None
    assert manifest(tmp_path).metrics == store.Metrics(accuracy=None, loss=None)
    with pytest.raises(GateNotMet, match=r"gates\.minAccuracy: no accuracy was measured"):
        run_script(PUBLISH + fitted, gates={"minAccuracy": 0.1})


def test_a_gate_that_is_not_met_publishes_nothing(run_script: RunScript, tmp_path: Path) -> None:
    with pytest.raises(GateNotMet, match=r"gates\.minAccuracy: accuracy 0\.\d+ is below 0\.9"):
        run_script(
            PUBLISH.replace("run.publish(model, images, labels)", "run.publish(model, images, 1 - labels)"),
            gates={"minAccuracy": 0.9},
        )
    assert not (tmp_path / "store").exists()


def test_a_file_that_the_script_wrote_is_checked_and_never_said_to_match_pytorch(
    run_script: RunScript, tmp_path: Path
) -> None:
    message = run_script(MODEL + EXPORT)
    assert message["outcome"] == "Published"
    assert "parity" not in message["artifact"]
    assert message["result"]["accuracy"] is None
    made = manifest(tmp_path)
    assert made.inputs == [store.Tensor(name="pixels", dtype="float32", shape=[-1, 1, 3, 4])]
    assert made.outputs == [store.Tensor(name="scores", dtype="float32", shape=[-1, 2])]
    assert (made.parity.reference, made.parity.max_abs, made.parity.samples) == ("none", None, 0)
    with np.load(tmp_path / "store/default/mine/1/samples.npz") as samples:
        assert (samples["pixels"].shape, samples["scores"].shape) == ((64, 1, 3, 4), (64, 2))


def test_samples_beside_it_are_what_it_is_compared_with(run_script: RunScript, tmp_path: Path) -> None:
    message = run_script(MODEL + EXPORT + SAMPLES, gates={"minAccuracy": 0.99})
    assert message["result"]["accuracy"] == 1.0
    assert message["artifact"]["parity"]["maxAbs"] < 1e-4
    assert (manifest(tmp_path).parity.reference, manifest(tmp_path).parity.samples) == ("script", 300)


def test_a_file_that_answers_otherwise_than_its_samples_is_refused(run_script: RunScript) -> None:
    with pytest.raises(
        ParityFailed, match=r"model\.onnx: scores differs from samples\.npz by up to 1; must be at most"
    ):
        run_script(MODEL + EXPORT + SAMPLES.replace("scores=scores", "scores=scores + 1"))


@pytest.mark.parametrize(
    ("break_it", "complaint"),
    [
        ("model.opset_import[0].version = 22", r"model\.onnx: opset 22 is not allowed; must be 7 to 21"),
        ("model.ir_version = 11", r"model\.onnx: IR version 11 is not allowed; must be <= 10"),
        ("model.graph.input[0].type.tensor_type.elem_type = 16", r"model\.onnx: (not a valid|in has type bfloat16)"),
        ("model.graph.node[0].op_type = 'Nonsense'", r"model\.onnx: not a valid ONNX model: .*Nonsense"),
        (
            "model.graph.node[0].op_type = 'BitwiseNot'",
            r"model\.onnx: (not a valid ONNX model|onnxruntime cannot load it)",
        ),
    ],
)
def test_a_file_that_could_not_be_served_is_refused(tmp_path: Path, break_it: str, complaint: str) -> None:
    model = a_graph()
    exec(break_it, {"model": model})
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(UserError, match=complaint):
        own_graph.take(tmp_path, parse({"model": {"script": "a.py"}}, tmp_path))


@pytest.mark.parametrize(
    ("samples", "complaint"),
    [
        ({"in": np.zeros((4, 3), np.float32)}, r"samples\.npz: no array 'out'; found in"),
        (
            {"in": np.zeros((4, 3)), "out": np.zeros((4, 3), np.float32)},
            r"in is float64 \[4, 3\]; must be float32 \[-1, 3\]",
        ),
        ({"in": np.zeros((4, 3), np.float32), "out": np.zeros((5, 3), np.float32)}, r"found in 4, out 5"),
        ({"in": np.zeros((0, 3), np.float32), "out": np.zeros((0, 3), np.float32)}, r"at least 1; found in 0, out 0"),
    ],
)
def test_samples_that_do_not_fit_the_file_are_refused(tmp_path: Path, samples: Any, complaint: str) -> None:
    onnx.save(a_graph(), tmp_path / "model.onnx")
    np.savez(tmp_path / "samples.npz", **samples)
    with pytest.raises(UserError, match=complaint):
        own_graph.take(tmp_path, parse({"model": {"script": "a.py"}}, tmp_path))


def test_what_acts_on_an_export_of_ours_is_refused_for_the_scripts_own(tmp_path: Path) -> None:
    onnx.save(a_graph(), tmp_path / "model.onnx")
    config = parse({"model": {"script": "a.py"}, "export": {"topK": 1}}, tmp_path)
    with pytest.raises(UserError, match=r"export: precision and topK are not allowed where the script writes"):
        own_graph.take(tmp_path, config)


def a_graph() -> onnx.ModelProto:
    """Return a graph of out = abs(in), (N, 3) float32."""
    batch: list[str | int | None] = ["n", 3]
    given, answer = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, batch) for name in ("in", "out"))
    graph = onnx.helper.make_graph([onnx.helper.make_node("Abs", ["in"], ["out"])], "abs", [given], [answer])
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)


@pytest.mark.parametrize(
    ("outputs", "targets", "task", "answers"),
    [
        ([[0.0, 0.0], [2.0, 0.0]], [0, 1], "classification", [[0.5, 0.5], [0.8808, 0.1192]]),
        ([[0.5, 0.5], [0.9, 0.1]], [0, 1], "classification", [[0.5, 0.5], [0.9, 0.1]]),
        ([[0.5, 0.5], [0.9, 0.1]], [[1.0], [0.0]], "classification", [[0.5, 0.5], [0.9, 0.1]]),
        ([[0.5, 0.5], [0.9, 0.1]], [[0.0, 1.0], [1.0, 0.0]], "classification", [[0.5, 0.5], [0.9, 0.1]]),
        ([[0.5, 0.5], [0.9, 0.1]], [[0.5, 3.0], [1.0, 0.0]], "regression", [[0.5, 0.5], [0.9, 0.1]]),
        ([[0.5], [0.9]], [1, 0], "classification", [[0.5, 0.5], [0.1, 0.9]]),
        ([0.5, 0.9], [[1.0], [0.0]], "classification", [[0.5, 0.5], [0.1, 0.9]]),
        ([[-2.0], [2.0]], [0.0, 1.0], "classification", [[0.8808, 0.1192], [0.1192, 0.8808]]),
        ([[-2.0], [2.0]], [False, True], "classification", [[0.8808, 0.1192], [0.1192, 0.8808]]),
        ([[0.1], [1.1]], [0, 1], "regression", [[0.1], [1.1]]),
        ([[0.5], [0.9]], [1, 2], "regression", [[0.5], [0.9]]),
        ([0.5, 0.9], [0.5, 1.0], "regression", [[0.5], [0.9]]),
    ],
)
def test_a_classifier_answers_with_probabilities_and_a_regression_as_it_is(
    outputs: Any, targets: Any, task: str, answers: Any
) -> None:
    adopted = adopted_of(np.array(outputs), np.array(targets))
    assert adopted.dataset.task == task
    given = adopted.dataset.test_images
    (answered,) = adopted.graph.answer(given).values()
    assert answered == pytest.approx(np.array(answers), abs=1e-4)
    assert (adopted.accuracy is None) == (task == "regression")


@pytest.mark.parametrize(
    ("outputs", "targets", "complaint"),
    [
        (np.zeros((2, 3)), np.array([0, 3]), "label 3 is not allowed; must be 0 to 2: the model has 3 outputs"),
        (np.zeros((2, 3)), np.array([-1, 0]), "label -1 is not allowed"),
        (np.zeros((2, 3)), np.array([0.5, 1.0]), r"labels of shape \[2\] do not fit a model with 3 outputs"),
        (np.zeros((2, 3, 4)), np.array([0, 1]), r"the model returns shape \[2, 3, 4\] for 2 inputs"),
    ],
)
def test_a_model_that_does_not_fit_its_labels_is_refused(outputs: Any, targets: Any, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        adopted_of(outputs, targets)


def adopted_of(outputs: Any, targets: Any) -> Adopted:
    """Adopt a model that answers sample n with row n of `outputs`."""
    table = torch.tensor(outputs, dtype=torch.float32)

    class Table(torch.nn.Module):
        def forward(self, numbers: torch.Tensor) -> torch.Tensor:
            return table[numbers[:, 0].long()]

    numbers = np.arange(len(outputs), dtype=np.float32)[:, None]
    return adopt(Left(Table(), numbers, targets), "table", Export())


def test_the_best_classes_can_be_asked_for(run_script: RunScript, tmp_path: Path) -> None:
    run_script(PUBLISH, export={"topK": 1})
    names = [output.name for output in manifest(tmp_path).outputs]
    assert names == ["probabilities", "top_probabilities", "top_labels"]


def test_int8_is_calibrated_with_training_samples_which_the_script_must_give(
    run_script: RunScript, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"export\.precision: int8 needs training samples to calibrate with"):
        run_script(PUBLISH, export={"precision": "int8"})
    given = PUBLISH.replace("(model, images, labels)", "(model, images, labels, training=(images, labels))")
    run_script(given, export={"precision": "int8"})
    assert manifest(tmp_path).precision == "int8"


def test_a_script_prepares_its_inputs_itself(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"export\.input: must be 'images'; a script's model takes what the script gives"
    ):
        parse({"model": {"script": "a.py"}, "export": {"input": "tensor"}}, tmp_path)


def test_a_file_of_an_earlier_run_is_not_taken_for_this_ones(run_script: RunScript, tmp_path: Path) -> None:
    run_script(MODEL + EXPORT, output=None)
    assert (tmp_path / "output/model.onnx").exists()
    with pytest.raises(UserError, match="left no model"):
        run_script("x = 1\n")
