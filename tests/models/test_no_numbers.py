"""NaN and infinity in losses and answers: every writer of JSON writes null, reports it, and keeps the reason."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as some
from onnx import TensorProto, helper

from trainserve import store
from trainserve.models import result
from trainserve.models.errors import ParityFailed
from trainserve.models.finite import finite, no_numbers
from trainserve.models.progress import Progress
from trainserve.models.scoring import measured
from trainserve.models.script import own_graph
from trainserve.models.script.config import parse
from trainserve.models.terminal import Terminal

from .conftest import RunScript
from .scripts import PUBLISH


def strict(text: str | bytes) -> Any:
    """Parse JSON strictly: NaN and infinity are errors."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


numbers = some.one_of(
    some.floats(),
    some.integers(),
    some.booleans(),
    some.floats(width=32).map(np.float32),
    some.integers(-9, 9).map(np.int64),
    some.none(),
    some.text(max_size=3),
)
trees = some.recursive(
    numbers, lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=3), inner, max_size=3)
)


@given(trees)
def test_whatever_a_message_holds_is_json_without_nan(tree: Any) -> None:
    assert strict(json.dumps(finite(tree), allow_nan=False)) == finite(tree)
    assert not [*no_numbers(finite(tree))]


def test_a_message_says_which_of_its_figures_are_no_numbers() -> None:
    progress = Progress()
    progress.update(loss=math.nan)
    measured = {"loss": math.nan, "accuracy": np.float32("inf"), "samplesPerSecond": np.float64(2)}
    failed = strict(result.encode(result.failure("GateNotMet", "too bad", progress, measured)))
    assert failed["reason"] == "GateNotMet"
    assert failed["message"] == "too bad; no number, and null here: progress.loss, result.loss, result.accuracy"
    assert failed["result"] == {"loss": None, "accuracy": None, "samplesPerSecond": 2.0}
    published = strict(result.encode(result.published(progress, {"loss": math.nan})))
    assert published["message"] == "no number, and null here: progress.loss, result.loss"
    progress.update(loss=0.5)
    assert "message" not in strict(result.encode(result.published(progress, {"loss": 0.5})))


def test_a_line_of_the_log_is_json_without_nan(capsys: pytest.CaptureFixture[str]) -> None:
    with Terminal(0.0, "json") as terminal:
        terminal.say("test split: loss nan", loss=math.nan, accuracy=0.5)
    line = strict(capsys.readouterr().out)
    assert (line["event"], line["message"], line["loss"], line["accuracy"]) == ("test split", "loss nan", None, 0.5)


NAN = """
    with torch.no_grad(): model[1].bias.fill_(float("nan"))
"""


def test_a_network_that_answers_nan_is_refused_with_that_reason(run_script: RunScript, tmp_path: Path) -> None:
    script = PUBLISH.replace("    from trainserve", f"{NAN}    from trainserve", 1)
    with pytest.raises(ParityFailed, match=r"PyTorch's own output is nan for 256 of 256 samples \(probabilities, "):
        run_script(script)
    assert not (tmp_path / "store").exists()


def test_a_script_whose_loss_became_nan_is_published_with_null_and_json_that_all_can_read(
    run_script: RunScript, tmp_path: Path
) -> None:
    regression = """
    import torch
    from torch import nn
    from trainserve.models import sdk
    run = sdk.start(epochs=1)
    run.epoch(1, loss=float("nan"), accuracy=float("inf"))
    run.publish(nn.Linear(2, 1), torch.ones(8, 2), torch.full((8, 1), float("nan")))
    """
    message = run_script(regression)
    assert message["outcome"] == "Published"
    told = strict(json.dumps(message))
    assert (told["result"]["loss"], told["message"]) == (None, "no number, and null here: progress.loss, result.loss")
    strict((tmp_path / "store/default/mine/1/manifest.json").read_bytes())
    assert store.manifest(tmp_path / "store", "default", "mine", 1).metrics.loss is None


def test_what_is_no_number_is_no_right_answer() -> None:
    accuracy, loss = measured(np.array([[np.nan, np.nan], [1.0, 0.0]]), np.array([0, 0]), "classification")
    assert accuracy == 0.5
    assert math.isnan(loss)


@pytest.mark.parametrize(("recorded", "alike"), [([np.nan, np.inf], True), ([0.0, np.inf], False)])
def test_equal_nans_of_a_scripts_own_file_are_equal(recorded: list[float], alike: bool, tmp_path: Path) -> None:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2]) for name in ("in", "out")]
    made = helper.make_graph([helper.make_node("Sqrt", ["in"], ["out"])], "root", values[:1], values[1:])
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(made, opset_imports=opset, ir_version=10), tmp_path / "model.onnx")
    given_, out = np.array([[-1, np.inf]], np.float32), np.array([recorded], np.float32)
    np.savez(tmp_path / "samples.npz", **{"in": given_, "out": out})  # type: ignore[arg-type]
    config = parse({"model": {"script": "a.py"}}, tmp_path)
    if alike:
        assert own_graph.take(tmp_path, config).parity.max_abs == 0
    else:
        with pytest.raises(ParityFailed, match=r"model\.onnx: out differs from samples\.npz"):
            own_graph.take(tmp_path, config)
