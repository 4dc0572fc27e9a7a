"""The convolution trained as a matrix product: the same function, used where it is faster."""

import pytest
import torch
from torch import Tensor, nn

from trainserve.models.zoo import convolution
from trainserve.models.zoo.convolution import Convolution, product


@pytest.mark.parametrize("size", [(4, 4), (5, 3), (1, 1), (2, 7)])
@pytest.mark.parametrize("stride", [1, 2])
def test_the_product_is_the_convolution_and_has_its_gradients(size: tuple[int, int], stride: int) -> None:
    torch.manual_seed(0)
    images = torch.randn(3, 6, *size, dtype=torch.float64)
    weight = torch.randn(5, 6, 3, 3, dtype=torch.float64)
    given = [images.requires_grad_(), weight.requires_grad_()]
    expected = nn.functional.conv2d(images, weight, stride=stride, padding=1)
    computed = product(images, weight, stride)
    torch.testing.assert_close(computed, expected)
    towards = torch.randn_like(expected)
    gradients = [torch.autograd.grad(each, given, towards) for each in (computed, expected)]
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.fixture
def products(monkeypatch: pytest.MonkeyPatch) -> list[torch.Size]:
    """Record the input shapes of the matrix product, on a simulated processor with AMX."""
    seen: list[torch.Size] = []

    def counted(x: Tensor, weight: Tensor, stride: int) -> Tensor:
        seen.append(x.shape)
        return product(x, weight, stride)

    monkeypatch.setattr(convolution, "_has_amx", lambda: True)
    monkeypatch.setattr(convolution, "product", counted)
    return seen


@pytest.mark.parametrize(
    ("size", "stride", "taken"), [(4, 1, True), (8, 2, True), (7, 2, True), (5, 1, False), (8, 1, False)]
)
def test_it_is_taken_for_few_pixels(products: list[torch.Size], size: int, stride: int, taken: bool) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        Convolution(2, 3, stride)(torch.zeros(1, 2, size, size, dtype=torch.bfloat16))
    assert bool(products) is taken


def test_it_is_for_training_in_bf16_alone(products: list[torch.Size], monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.zeros(1, 2, 4, 4)
    Convolution(2, 3)(images)
    with torch.autocast("cpu", torch.bfloat16):
        Convolution(2, 3).eval()(images.bfloat16())
        assert not products
        Convolution(2, 3)(images.bfloat16())
        assert products
        monkeypatch.setattr(convolution, "_has_amx", lambda: False)
        Convolution(2, 3)(images.bfloat16())
    assert len(products) == 1


def test_a_step_with_it_is_the_step_without(products: list[torch.Size], monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    layer, images = Convolution(32, 16), torch.randn(8, 32, 4, 4).bfloat16()

    def gradient() -> Tensor:
        layer.weight.grad = None
        with torch.autocast("cpu", torch.bfloat16):
            layer(images).float().square().sum().backward()
        assert layer.weight.grad is not None
        return layer.weight.grad

    ours = gradient()
    assert products
    monkeypatch.setattr(convolution, "_has_amx", lambda: False)
    torch.testing.assert_close(ours, gradient(), rtol=2e-2, atol=2e-2 * ours.abs().max().item())
