"""The training loop on an NVIDIA GPU; skipped without one."""

from pathlib import Path
from typing import Literal

import pytest
import torch

from trainserve.api.training import Augment
from trainserve.models import device, speedup, zoo
from trainserve.models.config import Trainer
from trainserve.models.evaluate import evaluate
from trainserve.models.interrupt import Interrupt
from trainserve.models.network import Network
from trainserve.models.rank import Rank
from trainserve.models.speedup import Way
from trainserve.models.train import train

from .small_run import checkpoints, little, network

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")]


@pytest.fixture
def gpu() -> torch.device:
    return device.choose(Rank())


@pytest.mark.parametrize("precision", ["auto", "fp32", "tf32", "bf16"])
def test_every_precision_learns_and_leaves_the_flags_as_they_were(
    gpu: torch.device, precision: Literal["auto", "fp32", "tf32", "bf16"]
) -> None:
    before = torch.backends.cuda.matmul.fp32_precision
    trained = Network(little().normalisation(), zoo.build("convnet", {}, (8, 8, 1), 3)).to(gpu)
    config = Trainer(epochs=20, batch_size=16, learning_rate=0.01, precision=precision)
    train(trained, little(), config, gpu, lambda report: None, Interrupt())
    assert evaluate(trained, little(), gpu).accuracy == 1.0
    assert torch.backends.cuda.matmul.fp32_precision == before


def test_a_recorded_pass_gives_what_the_pass_itself_gives(gpu: torch.device) -> None:
    module = zoo.build("resnet9", {}, (32, 32, 3), 10).to(gpu)
    images = torch.rand(32, 3, 32, 32, device=gpu).to(memory_format=torch.channels_last)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    module(images).square().mean().backward()
    expected = [parameter.grad.clone() for parameter in module.parameters() if parameter.grad is not None]
    module.load_state_dict(before)
    module.zero_grad()
    recorded = speedup._graphs(module, images)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    recorded(images).square().mean().backward()  # type: ignore[no-untyped-call]
    for parameter, gradient in zip(module.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-5)


def test_the_trial_takes_what_is_faster_and_says_so(gpu: torch.device) -> None:
    said: list[str] = []
    module = zoo.build("resnet9", {}, (32, 32, 3), 10).to(gpu)
    images = torch.rand(8, 3, 32, 32, device=gpu)
    speedup.fastest(module, images, 10**6, [Way("CUDA graphs", speedup._graphs, 1e-3)], said.append)
    assert said[0].endswith("; taken: CUDA graphs")


def test_a_run_goes_on_from_its_checkpoint(gpu: torch.device, tmp_path: Path) -> None:
    said: list[str] = []
    for epochs in (3, 3):
        with checkpoints(tmp_path, said.append) as saved:
            config = Trainer(epochs=epochs, ema=0.9, augment=Augment(crop=1, flip=True))
            trained = network().to(gpu)
            train(trained, little(), config, gpu, lambda _: None, Interrupt(), checkpoints=saved, say=said.append)
    assert any(line.startswith("resumed: after step 3 of 3") for line in said)
