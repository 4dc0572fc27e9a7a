"""`model.freeze`: which parameters and statistics stay fixed while the rest is trained."""

import copy

import pytest
import torch
from torch import nn

from trainserve.models import zoo
from trainserve.models.errors import UserError
from trainserve.models.freeze import freeze


def resnet9(classes: int = 4) -> nn.Module:
    torch.manual_seed(0)
    return zoo.build("resnet9", {"width": 4}, (8, 8, 1), classes)


def step(network: nn.Module) -> dict[str, torch.Tensor]:
    """Return the state after one training step."""
    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01, weight_decay=0.1)
    network(torch.randn(8, 1, 8, 8)).square().sum().backward()
    optimizer.step()
    return {name: value.clone() for name, value in network.state_dict().items()}


def test_what_is_frozen_stays_bit_for_bit_with_its_statistics_and_the_rest_is_trained() -> None:
    network = resnet9()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert freeze(network, ["stem.*", "layer1.*"]) == "348 of 26080 parameters in 6 tensors"
    after = step(network)
    kept = {name for name, value in before.items() if torch.equal(value, after[name])}
    assert kept == {name for name in before if name.startswith(("stem.", "layer1."))}


def test_a_copy_of_the_network_keeps_its_own_statistics() -> None:
    network = resnet9()
    freeze(network, ["stem.*"])
    twin = copy.deepcopy(network)
    twin.train()
    norms = {path: module.training for path, module in twin.named_modules() if isinstance(module, nn.BatchNorm2d)}
    assert not norms.pop("stem.1")
    assert all(norms.values())
    assert twin.state_dict().keys() == resnet9().state_dict().keys()


def test_a_norm_of_which_only_a_part_is_frozen_still_learns_its_statistics() -> None:
    network = resnet9()
    freeze(network, ["stem.*.bias"])
    before = network.state_dict()["stem.1.running_mean"].clone()
    assert not torch.equal(step(network)["stem.1.running_mean"], before)


@pytest.mark.parametrize(
    ("globs", "text"),
    [
        (["layer5.*"], "model.freeze: 'layer5.*' matches no parameter; did you mean 'layer3.*' or "),
        (["stem.*", "fc.wieght"], "model.freeze: 'fc.wieght' matches no parameter; did you mean 'fc.weight' or "),
        (["zzzz"], "model.freeze: 'zzzz' matches no parameter; there are: stem.0.weight, stem.1.weight, "),
        (["*"], "model.freeze: '*' match all parameters; nothing is left to train"),
        (["*.weight", "*.bias"], "model.freeze: '*.weight', '*.bias' match all parameters; nothing is left to train"),
    ],
)
def test_globs_that_match_nothing_or_everything_are_refused(globs: list[str], text: str) -> None:
    with pytest.raises(UserError) as error:
        freeze(resnet9(), globs)
    assert str(error.value).startswith(text)
