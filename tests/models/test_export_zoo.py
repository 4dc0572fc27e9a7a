"""Every model of the zoo and four of timm's families: exported with an open batch axis, and PyTorch's equal."""

from pathlib import Path

import pytest
import torch

from trainserve.models import parity, zoo
from trainserve.models.config import Export
from trainserve.models.session import Session

from .exporting import dataset, exported

TIMM = ("timm/resnet10t", "timm/mobilenetv3_small_100", "timm/efficientnet_b0", "timm/convnext_atto")


@pytest.mark.parametrize("name", [*zoo.MODELS, *TIMM])
def test_it_is_exported_and_computes_what_pytorch_does(name: str, tmp_path: Path) -> None:
    # The smallest images that the models can halve as often as they do.
    data = dataset((32, 32, 3) if name.startswith("timm/") else (8, 8, 1), count=40)
    torch.manual_seed(0)
    graph, made = exported(data, zoo.build(name, {}, data.shape, 5), tmp_path)
    compared = parity.measure(graph, Session(made.path), data, Export())
    assert len(compared.given) == 80
    assert compared.max_abs < 1e-5
