"""`timm/<name>`: timm's models built for the data; what timm does not know or support is reported in one line."""

from typing import Any

import pytest
import torch

from trainserve.models import zoo
from trainserve.models.errors import UserError
from trainserve.models.torchvision import declare_operators

from .test_zoo import CLASSES, learn


@pytest.mark.parametrize(
    ("name", "options", "shape"),
    [
        ("resnet10t", {}, (32, 32, 3)),
        ("mobilenetv3_small_050", {"drop_rate": 0.1}, (28, 28, 1)),
        ("vit_tiny_patch16_224", {"patch_size": 4}, (28, 20, 2)),
    ],
)
def test_a_model_of_timm_takes_the_images_and_gives_the_outputs_of_the_data(
    name: str, options: dict[str, Any], shape: tuple[int, int, int]
) -> None:
    network = zoo.build(f"timm/{name}", options, shape, 7)
    assert network.training
    height, width, channels = shape
    with torch.no_grad():
        assert network.eval()(torch.zeros(3, channels, height, width)).shape == (3, 7)


def test_a_model_of_timm_learns() -> None:
    torch.manual_seed(0)
    first, last = learn(zoo.build("timm/resnet10t", {}, (8, 8, 1), CLASSES), 15, 3e-3)
    assert last < first / 4


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("resnet81", {}, "model.name: 'timm/resnet81' is unknown; did you mean 'timm/resnet18' or "),
        ("hf-hub:timm/resnet18", {}, "model.name: 'timm/hf-hub:timm/resnet18' is unknown; did you mean "),
        (
            "resnet10t",
            {"pretrained": True},
            "model.options.pretrained: not allowed; weights come from model.pretrained",
        ),
        ("resnet10t", {"num_classes": 3}, "model.options.num_classes: not allowed; the data set's labels determine it"),
        (
            "resnet10t",
            {"depth": 3},
            'model.options: timm/resnet10t cannot be built with {"depth": 3}: TypeError: ',
        ),
        ("inception_v3", {}, "model.name: timm/inception_v3 cannot take images of 28x28x1: RuntimeError: "),
        (
            "resnet10t",
            {"global_pool": ""},
            "model.name: timm/resnet10t cannot take images of 28x28x1: ",
        ),
    ],
)
def test_what_timm_does_not_know_or_take_is_one_line(name: str, options: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError) as error:
        zoo.build(f"timm/{name}", options, (28, 28, 1), 10)
    assert str(error.value).startswith(text)
    assert "\n" not in str(error.value)


def test_without_timm_one_line_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainserve.models.zoo.from_timm.find_spec", lambda name: None)
    with pytest.raises(UserError) as error:
        zoo.build("timm/resnet18", {}, (28, 28, 1), 10)
    assert str(error.value) == (
        "model.name: 'timm/resnet18' needs timm, which is not installed: pip install 'trainserve[timm]'"
    )


def test_torchvisions_operators_are_declared_only_where_its_own_do_not_load() -> None:
    declared = declare_operators()
    import torchvision

    loaded = torchvision.extension._has_ops()
    assert (declared is None) == loaded
    assert declare_operators() is declared
    boxes, scores = torch.zeros(1, 4), torch.zeros(1)
    if loaded:
        assert torchvision.ops.nms(boxes, scores, 0.5).tolist() == [0]
    else:
        with pytest.raises((NotImplementedError, RuntimeError)):
            torchvision.ops.nms(boxes, scores, 0.5)
