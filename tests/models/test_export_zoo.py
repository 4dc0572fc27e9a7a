"""Every model of the zoo and four of timm's families: exported with a dynamic batch axis, and equal to PyTorch."""

from pathlib import Path

import numpy as np
import pytest
import torch

from trainserve.api.catalogue import MODELS
from trainserve.models import parity, zoo
from trainserve.models.config import Export
from trainserve.models.data.dataset import Dataset
from trainserve.models.session import Session

from .exporting import exported

TIMM = ("timm/resnet10t", "timm/mobilenetv3_small_100", "timm/efficientnet_b0", "timm/convnext_atto")


def digits(size: int, channels: int) -> Dataset:
    """Return scanned digits of `size` x `size` pixels, a multiple of 8."""
    from sklearn.datasets import load_digits  # takes 1.2 s, so it is not imported at collection

    scanned = load_digits()
    images = (scanned.images * 15).astype(np.uint8).repeat(size // 8, 1).repeat(size // 8, 2)[..., None]
    images, targets = images.repeat(channels, 3), scanned.target.astype(np.int64)
    tested = parity.SAMPLES
    names = [str(label) for label in range(10)]
    return Dataset("digits", images[tested:], targets[tested:], images[:tested], targets[:tested], names)


@pytest.mark.parametrize("name", [*MODELS, *TIMM])
def test_it_is_exported_and_computes_what_pytorch_does(name: str, tmp_path: Path) -> None:
    # The smallest images that the models can downsample as often as they do.
    data = digits(32, 3) if name.startswith("timm/") else digits(8, 1)
    torch.manual_seed(0)
    graph, made = exported(data, zoo.build(name, {}, data.shape, 10), tmp_path)
    session = Session(made.path)
    compared = parity.measure(graph, session, data, Export())  # in batches of 64 and of 7
    assert len(compared.given) == 256
    assert compared.max_abs < 1e-5
    few = {output: answers[:4] for output, answers in compared.answers.items()}
    for batch in (1, 2):
        parity.compare(graph, few, session.run(compared.given[:4], batch), compared.tolerance)
