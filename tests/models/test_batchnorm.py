"""A part of one image: refused before the run if batch normalisation would fail on it, else allowed."""

import pytest
import torch

from trainserve.models import batchnorm, zoo
from trainserve.models.data.dataset import Normalisation
from trainserve.models.errors import UserError
from trainserve.models.network import Network
from trainserve.models.sampling import Sampling


def network(name: str, side: int) -> Network:
    options = {"width": 2} if name == "resnet9" else {}
    return Network(Normalisation(1.0, [0.0], [1.0]), zoo.build(name, options, (side, side, 1), 3))


def check(of: Network, side: int, sampling: Sampling) -> None:
    batchnorm.check(of, torch.zeros(1, side, side, 1), sampling)


ONE_LEFT = Sampling(count=50, batch=7, accumulate=1, seed=0)
TWO_LEFT = Sampling(count=51, batch=7, accumulate=1, seed=0)
ONE_EACH = Sampling(count=56, batch=7, accumulate=2, seed=0, rank=1, processes=2)


def test_a_rest_of_one_image_that_ends_as_one_pixel_is_refused_before_the_run() -> None:
    with pytest.raises(UserError) as error:
        check(network("resnet9", 8), 8, ONE_LEFT)
    assert str(error.value) == (
        "trainer.batchSize: 7 leaves a part of one image (50 samples, 1 process(es), accumulate 1), on which this "
        "model's BatchNorm cannot be trained; must leave two or more, or none"
    )
    with pytest.raises(UserError, match=r"\(56 samples, 2 process\(es\), accumulate 2\)"):
        check(network("resnet9", 8), 8, ONE_EACH)


@pytest.mark.parametrize(
    ("name", "side", "sampling"),
    [("resnet9", 8, TWO_LEFT), ("resnet9", 16, ONE_LEFT), ("convnet", 8, ONE_LEFT)],
)
def test_what_can_be_trained_passes_and_is_left_as_it_was(name: str, side: int, sampling: Sampling) -> None:
    of = network(name, side)
    before = {key: value.clone() for key, value in of.state_dict().items()}
    chance = torch.get_rng_state()
    check(of, side, sampling)
    assert all(torch.equal(value, before[key]) for key, value in of.state_dict().items())
    assert torch.equal(torch.get_rng_state(), chance)
