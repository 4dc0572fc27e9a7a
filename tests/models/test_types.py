"""Models whose weights are not float32: published as float32, or refused with the cause."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from trainserve.models import zoo
from trainserve.models.config import Export
from trainserve.models.errors import UserError
from trainserve.models.script.network import adopt
from trainserve.models.script.running import Left

from .conftest import RunScript
from .exporting import dataset, exported

LABELS = np.array([0, 1, 2, 1])


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16, torch.float16])
def test_a_scripts_model_is_published_as_float32_and_that_is_said(kind: torch.dtype) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3)).to(kind).eval()
    inputs = torch.randn(4, 6, dtype=kind)
    expected = torch.softmax(model(inputs).float(), 1).detach().numpy()
    adopted = adopt(Left(model, inputs.double().numpy(), LABELS), "model", Export())
    (answered,) = adopted.graph.answer(adopted.dataset.test_images).values()
    assert answered.dtype == np.float32
    np.testing.assert_allclose(answered, expected, atol=1e-6 if kind == torch.float64 else 0.02)
    name = str(kind).removeprefix("torch.")
    assert str(adopted).endswith(f"; its weights, {name} in the script, are published as float32")


def test_of_a_model_in_float32_nothing_is_said() -> None:
    adopted = adopt(Left(nn.Linear(6, 3), np.zeros((4, 6), np.float32), LABELS), "model", Export())
    assert adopted.was is None
    assert "float32" not in str(adopted)


class Wide(nn.Module):
    """Compute in float64 whatever the dtype of the weights."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 3).double()

    def forward(self, given: Tensor) -> Tensor:
        answer: Tensor = self.linear(given.double())
        return answer


def test_a_model_that_insists_on_its_type_is_refused_with_that_cause() -> None:
    with pytest.raises(UserError) as refused:
        adopt(Left(Wide(), np.zeros((4, 6)), LABELS), "model", Export())
    assert str(refused.value).startswith(
        "model.script: the model, its weights as float32, cannot take the inputs of run.publish, float32 [4, 6]: "
        "RuntimeError: mat1 and mat2 must have the same dtype"
    )


def test_samples_in_bfloat16_are_taken(run_script: RunScript) -> None:
    message = run_script(
        """
        import torch
        from trainserve.models import sdk
        model = torch.nn.Linear(4, 2).bfloat16()
        sdk.start(epochs=1).publish(model, torch.rand(8, 4, dtype=torch.bfloat16), torch.arange(8) % 2)
        """,
        output=None,
        gates={"minAccuracy": 0.0},
    )
    assert message["outcome"] == "Trained"


class Widening(nn.Module):
    """Weights in float32, output in float64."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 5)

    def forward(self, images: Tensor) -> Tensor:
        answer: Tensor = self.linear(images.flatten(1))
        return answer.double()


def test_what_is_published_answers_in_the_type_that_it_says(tmp_path: Path) -> None:
    graph, file = exported(dataset(), Widening(), tmp_path)
    (output,) = onnx.load(file.path).graph.output
    kind = onnx.helper.tensor_dtype_to_np_dtype(output.type.tensor_type.elem_type)
    assert str(kind) == graph.signature.outputs[0].dtype == "float32"


def test_a_network_of_the_users_that_is_not_float32_is_refused_before_it_is_trained(
    write_script: Callable[[str], Path],
) -> None:
    script = write_script("""
    from torch import nn
    def double(shape, outputs):
        return nn.Sequential(nn.Flatten(), nn.Linear(64, outputs)).double()
    """)
    options: dict[str, Any] = {}
    with pytest.raises(UserError, match=r"train\.py:double returns Sequential with float64 weights; must be float32"):
        zoo.build(f"{script}:double", options, (8, 8, 1), 5)
