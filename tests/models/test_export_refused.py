"""What cannot be exported is refused in one line that names the operator."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from trainserve.models.config import Export
from trainserve.models.errors import UserError
from trainserve.models.session import Session
from trainserve.models.signature import signature

from .exporting import dataset, exported, made, regression

DATA = dataset()


@torch.library.custom_op("trainserve_tests::twist", mutates_args=())
def twist(values: Tensor) -> Tensor:
    return values * 2


@twist.register_fake
def _(values: Tensor) -> Tensor:
    return torch.empty_like(values)


class Sorted(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        return torch.linalg.svd(values)[0][:, :5]


class Body(nn.Module):
    """A linear layer, then the function under test."""

    def __init__(self, then: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.linear, self.then = nn.Linear(64, 5), then

    def forward(self, images: Tensor) -> Tensor:
        return self.then(self.linear(images.flatten(1)))


def depends_on_data(values: Tensor) -> Tensor:
    return values if values.sum() > 0 else -values


@pytest.mark.parametrize(
    ("then", "words"),
    [
        (twist, "operator trainserve_tests.twist cannot be converted to ONNX"),
        (Sorted.apply, "operator aten._linalg_svd cannot be converted to ONNX"),
        (depends_on_data, "operator aten.item: the control flow depends on the data"),
        (lambda values: nn.functional.dropout(values, 0.5, training=True), "the output of operator Dropout is random"),
        (lambda values: values + torch.randn_like(values), "the output of operator RandomNormalLike is random"),
        (lambda values: values.reshape(2, 5), "its batch axis is fixed at 2 by an operator"),
        (lambda values: values[:2], "output probabilities has shape"),
    ],
)
def test_a_model_that_cannot_be_exported_is_refused_by_its_operator(
    then: Callable[[Tensor], Tensor], words: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError) as refused:
        exported(DATA, Body(then), tmp_path)
    assert str(refused.value).startswith("model: ")
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "def forward" not in "".join(capfd.readouterr())


class Stubborn(nn.Module):
    """Compute in float32 whatever the dtype of the weights."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 5, 8)

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.conv2d(images.float(), self.convolution.weight).flatten(1)


def test_a_body_that_is_not_to_be_halved_is_refused_in_fp16(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model: cannot be exported to ONNX: .*(conv|Conv)"):
        made(DATA, Stubborn(), tmp_path, precision="fp16")


def test_an_operator_that_onnxruntime_lacks_is_named(tmp_path: Path) -> None:
    node = helper.make_node("Det", ["x"], ["y"])
    shapes: dict[str, list[str | int | None]] = {"x": ["n", 2, 2], "y": ["n"]}
    values = [helper.make_tensor_value_info(name, TensorProto.DOUBLE, shape) for name, shape in shapes.items()]
    model = helper.make_model(
        helper.make_graph([node], "g", values[:1], values[1:]),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(UserError, match="operator Det: "):
        Session(tmp_path / "model.onnx")


def test_more_top_classes_than_there_are_is_refused_before_training() -> None:
    with pytest.raises(UserError, match=r"export.topK: 6 is not allowed; must be 1 to 5, the number of classes"):
        signature(Export.model_validate({"topK": 6}), DATA)


def test_the_top_classes_of_a_regression_are_refused_before_training() -> None:
    with pytest.raises(UserError, match=r"export.topK: 1 is not allowed; a regression has no classes"):
        signature(Export.model_validate({"topK": 1}), regression())
