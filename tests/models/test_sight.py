"""A network that skips pixels: reported with the sizes, and refused if much of the image is skipped."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainserve.models import builder, zoo
from trainserve.models.config import Model
from trainserve.models.data.watch import Watch
from trainserve.models.errors import UserError
from trainserve.models.zoo import sight
from trainserve.models.zoo.sight import Sight

VIT = "timm/vit_tiny_patch16_224"


def build(shape: tuple[int, int, int], **model: Any) -> list[str]:
    """Build a network; return the lines logged meanwhile."""
    said: list[str] = []
    builder.build(Model.model_validate(model), Path("/"), shape, 10, Watch(said.append))
    return said


@pytest.mark.parametrize(
    ("name", "options", "shape", "words"),
    [
        (VIT, {"depth": 1}, (28, 28, 1), "16x16 of the images' 28x28 pixels; dataset.size: [32, 32] is a multiple"),
        (VIT, {"depth": 1}, (40, 33, 3), "32x32 of the images' 40x33 pixels; dataset.size: [48, 48] is a multiple"),
        (
            "timm/swin_tiny_patch4_window7_224",
            {"depths": [1, 1]},
            (30, 30, 3),
            "28x28 of the images' 30x30 pixels; dataset.size: [32, 32] is a multiple of its patches of 4x4",
        ),
        ("timm/mixer_s32_224", {}, (40, 40, 3), "32x32 of the images' 40x40 pixels; set dataset.size to a size"),
    ],
)
def test_a_model_of_timm_that_passes_over_much_of_the_image_is_refused_with_the_sizes(
    name: str, options: dict[str, Any], shape: tuple[int, int, int], words: str
) -> None:
    with pytest.raises(UserError) as refused:
        build(shape, name=name, options=options)
    assert str(refused.value).startswith(f"model.name: {name} looks at {words}")


def test_what_is_passed_over_at_the_edge_is_said() -> None:
    assert build((50, 50, 3), name="timm/convnext_atto") == [
        "warning: timm/convnext_atto looks at 48x48 of the images' 50x50 pixels; set dataset.size to a size of "
        "which it looks at every pixel"
    ]


@pytest.mark.parametrize(
    ("name", "options", "shape"),
    [
        (VIT, {"depth": 1}, (32, 48, 3)),
        ("timm/resnet10t", {"zero_init_last": True}, (30, 33, 3)),
        ("timm/resnet10t", {}, (8, 8, 3)),
        ("timm/mobilenetv3_small_050", {}, (28, 28, 1)),
    ],
)
def test_of_a_model_that_looks_at_the_whole_image_nothing_is_said(
    name: str, options: dict[str, Any], shape: tuple[int, int, int]
) -> None:
    assert build(shape, name=name, options=options) == []


class Middle(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 3)

    def forward(self, images: Tensor) -> Tensor:
        answer: Tensor = self.linear(images[:, 0, 2:6, 2:6].flatten(1))
        return answer


def test_a_network_of_the_users_may_look_where_it_likes(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "class Middle(nn.Module):\n"
        "    def __init__(self, outputs):\n"
        "        super().__init__()\n"
        "        self.linear = nn.Linear(16, outputs)\n"
        "    def forward(self, images):\n"
        "        return self.linear(images[:, 0, 2:6, 2:6].flatten(1))\n"
        "def middle(shape, outputs):\n"
        "    return Middle(outputs)\n"
    )
    (said,) = build((8, 8, 1), script=f"{tmp_path}/net.py:middle")
    assert "looks at 4x4 of the images' 8x8 pixels" in said


def test_looking_changes_neither_the_network_nor_chance() -> None:
    network = zoo.build("resnet9", {"width": 2}, (9, 9, 1), 3)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    generator = torch.get_rng_state()
    assert sight.sight(network, (9, 9, 1)) == Sight((9, 9), (9, 9))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert network.training
    assert torch.equal(torch.get_rng_state(), generator)


def test_where_nothing_can_be_told_nothing_is_said() -> None:
    class Rounding(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1).round()

    assert sight.sight(Rounding(), (8, 8, 1)) is None
    assert sight.sight(Middle(), (2, 2, 1)) is None
