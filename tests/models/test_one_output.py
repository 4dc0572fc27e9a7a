"""A two-class classifier with a single output is treated as a classifier: in a script, in Keras and in our own loop."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from trainserve import store
from trainserve.models import one_output
from trainserve.models.config import Export
from trainserve.models.data.dataset import Normalisation
from trainserve.models.errors import UserError
from trainserve.models.network import Network
from trainserve.models.script import own_graph
from trainserve.models.script.config import parse
from trainserve.models.script.network import adopt
from trainserve.models.script.running import Left

from .conftest import RunScript
from .scripts import MODEL

# The two-logit model reduced to the difference of its logits: positive for class 1.
ONE = (
    MODEL
    + """
    one = nn.Sequential(nn.Flatten(), nn.Linear(12, 1){end})
    with torch.no_grad():
        one[1].weight.fill_(2.0)
        one[1].bias.zero_()
    from trainserve.models import sdk
    run = sdk.start()
"""
)
TWO_CLASSES = [store.Tensor(name="probabilities", dtype="float32", shape=[-1, 2])]


def made(tmp_path: Path) -> store.Manifest:
    return store.manifest(tmp_path / "store", "default", "mine", 1)


@pytest.mark.parametrize("end", ["", ", nn.Sigmoid()"])
def test_one_logit_or_probability_of_a_script_is_published_as_two_classes(
    run_script: RunScript, tmp_path: Path, end: str
) -> None:
    script = ONE.format(end=end) + "    run.publish(one, images, labels.float().unsqueeze(1))\n"
    message = run_script(script, gates={"minAccuracy": 0.99})
    assert message["result"]["accuracy"] == 1.0
    assert (made(tmp_path).outputs, made(tmp_path).labels) == (TWO_CLASSES, ["0", "1"])
    with np.load(tmp_path / "store/default/mine/1/samples.npz") as samples:
        sums = samples["images"].sum(axis=(1, 2, 3))
        assert samples["probabilities"][:, 1] == pytest.approx(1 / (1 + np.exp(-2 * sums)), abs=1e-5)
        assert samples["probabilities"].sum(axis=1) == pytest.approx(np.ones(len(sums)), abs=1e-5)


@pytest.mark.parametrize(
    ("width", "labels", "words"),
    [
        (1, np.array([0, 1, 1, 0]), "a classifier of 2 classes, whose one output is the logit of class 1"),
        (3, np.array([0, 1, 2, 1]), "a classifier of 3 classes, whose 3 outputs are logits, of which softmax makes"),
        (1, np.array([0.5, 1.5, 2.5, 0.1]), "a regression of 1 value, published unchanged"),
        (2, np.zeros((4, 2), np.float32), "a regression of 2 values, published unchanged"),
    ],
)
def test_what_a_scripts_model_is_taken_for_is_said(width: int, labels: NDArray[Any], words: str) -> None:
    left = Left(nn.Linear(6, width), np.zeros((4, 6), np.float32), labels)
    assert str(adopt(left, "model", Export())).startswith(words)


def test_the_script_may_say_that_it_is_a_regression_and_the_gate_then_says_what_is_wrong(
    run_script: RunScript, tmp_path: Path
) -> None:
    script = ONE.format(end="") + "    run.publish(one, images, labels, task='regression')\n"
    run_script(script)
    assert made(tmp_path).outputs == [store.Tensor(name="values", dtype="float32", shape=[-1, 1])]
    with pytest.raises(UserError, match=r"gates\.minAccuracy: 0\.8 is not allowed; a regression has no accuracy"):
        run_script(script, gates={"minAccuracy": 0.8})


def test_a_task_that_is_none_is_refused_at_its_line(run_script: RunScript) -> None:
    with pytest.raises(UserError, match=r"train\.py, line \d+: run\.publish: task 'binary' is not allowed; must be "):
        run_script(ONE.format(end="") + "    run.publish(one, images, labels, task='binary')\n")


class Ending(nn.Module):
    """A linear layer with one output, passed through `end`."""

    def __init__(self, end: Any) -> None:
        super().__init__()
        self.linear, self.end = nn.Linear(3, 1), end

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.end(self.linear(given))
        return answer


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (torch.sigmoid, True),
        (lambda z: torch.sigmoid(z).squeeze(-1), True),
        (lambda z: torch.sigmoid(z).clamp(1e-6, 1 - 1e-6).view(-1), True),
        (lambda z: 1 - torch.sigmoid(z), True),
        (lambda z: torch.sigmoid(torch.cat([z, z], 1)).mean(1, keepdim=True), True),
        (nn.functional.hardsigmoid, True),
        (lambda z: z, False),
        (lambda z: z.squeeze(1), False),
    ],
)
def test_a_probability_is_told_from_a_logit_by_the_last_step(end: Any, expected: bool) -> None:
    body, given = Ending(end), torch.rand(8, 3)
    with torch.no_grad():  # also logits that all lie between 0 and 1
        body.linear.weight.fill_(0.2)
        body.linear.bias.fill_(0.1)
        answered = body(given)
    assert one_output.is_a_probability(body, given[:2], answered) is expected


def test_one_logit_loses_and_answers_as_binary_cross_entropy_and_sigmoid_do() -> None:
    body = nn.Sequential(nn.Flatten(), nn.Linear(4, 1))
    network = Network(Normalisation(1.0, [0.0], [1.0]), body)
    images, truth = torch.randn(6, 2, 2, 1), torch.tensor([0, 1, 1, 0, 1, 0])
    alone = body(images.permute(0, 3, 1, 2))
    logits = network.logits(images)
    torch.testing.assert_close(
        nn.functional.cross_entropy(logits, truth),
        nn.functional.binary_cross_entropy_with_logits(alone[:, 0], truth.float()),
    )
    torch.testing.assert_close(network.answers(logits)[:, 1:], torch.sigmoid(alone))


@pytest.mark.parametrize(
    ("answers", "labels", "accuracy"),
    [
        ([[0.4], [0.6]], [0, 1], 1.0),
        ([[-2.0], [0.2]], [0, 1], 1.0),
        ([[-2.0], [3.0]], [1, 1], 0.5),
        ([[-2.0], [3.0]], [1, 2], None),
    ],
)
def test_a_file_of_the_scripts_own_with_one_output_has_the_accuracy_of_two_classes(
    tmp_path: Path, answers: Any, labels: Any, accuracy: float | None
) -> None:
    given, answer = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 1]) for name in ("in", "out")
    )
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["in"], ["out"])], "same", [given], [answer])
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(made, tmp_path / "model.onnx")
    values = np.array(answers, np.float32)
    arrays: dict[str, Any] = {"in": values, "out": values, "labels": np.array(labels)}
    np.savez(tmp_path / "samples.npz", **arrays)
    assert own_graph.take(tmp_path, parse({"model": {"script": "a.py"}}, tmp_path)).accuracy == accuracy


NET = """
from torch import nn
def network(shape, outputs, end=None):
    height, width, channels = shape
    layers = [nn.Flatten(), nn.Linear(height * width * channels, 1)]
    return nn.Sequential(*layers, *([getattr(nn, end)()] if end else []))
"""


def bright_or_dark(tmp_path: Path, **model: Any) -> dict[str, Any]:
    """Write two classes of pictures, and a network with one output; return the configuration."""
    random = np.random.default_rng(0)
    y = np.arange(200) % 2
    x = (random.integers(0, 100, (200, 4, 4)) + y[:, None, None] * 120).astype(np.uint8)
    np.savez(tmp_path / "data.npz", x=x, y=y)
    (tmp_path / "net.py").write_text(NET)
    return {
        "store": {"root": str(tmp_path / "store")},
        "model": {"script": str(tmp_path / "net.py:network"), **model},
        "dataset": {"path": str(tmp_path / "data.npz")},
        "trainer": {"epochs": 6, "batchSize": 20, "learningRate": 0.05},
        "gates": {"minAccuracy": 0.95},
        "output": {"model": "mine"},
    }


def test_a_network_function_of_one_output_is_trained_on_two_classes(
    execute: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    message = execute(bright_or_dark(tmp_path))
    assert message["result"]["accuracy"] >= 0.95
    assert (made(tmp_path).outputs, made(tmp_path).labels) == (TWO_CLASSES, ["0", "1"])


def test_a_network_function_that_ends_in_a_sigmoid_is_told_to_leave_it_out(
    execute: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    with pytest.raises(UserError) as error:
        execute(bright_or_dark(tmp_path, options={"end": "Sigmoid"}))
    assert str(error.value) == (
        "model.script: net.py:network returns Sequential: its one output is a probability; must be the logit: remove "
        "the sigmoid"
    )
