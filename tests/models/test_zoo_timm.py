"""`timm/<name>`: timm's models built for the data; what timm does not know or cannot do is told in one line."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from trainserve.models import zoo
from trainserve.models.errors import UserError


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
    from .test_zoo import bright_rows

    torch.manual_seed(0)
    network = zoo.build("timm/resnet10t", {}, (8, 8, 1), 4)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    losses = []
    for step in range(25):
        images, labels = bright_rows(16, seed=step)
        loss = torch.nn.functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-3:]) / 3 < losses[0] / 2


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
        ("resnet10t", {"num_classes": 3}, "model.options.num_classes: not allowed; the data set's labels set it"),
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


def test_torchvisions_operators_are_declared_only_where_its_own_do_not_load(tmp_path: Path) -> None:
    """In a process of its own, since an operator that is declared stays."""
    assert importlib.util.find_spec("torchvision") is not None
    program = """if True:
        import torch
        from trainserve.models.zoo.torchvision import declare_operators
        held = declare_operators()
        import torchvision
        loaded = torchvision.extension._has_ops()
        assert (held is None) == loaded, (held, loaded)
        assert declare_operators() is held
        from torchvision.ops import nms
        try:
            nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
            assert loaded
        except (NotImplementedError, RuntimeError):
            assert not loaded
        print("as it should be")
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.stdout == "as it should be\n", done.stderr
