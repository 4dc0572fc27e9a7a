"""The choice of the fastest way to compute a training step."""

import re

import pytest
import torch

from trainserve.models import speedup
from trainserve.models.speedup import Way


def test_a_faster_way_is_taken_for_its_shape_alone_and_leaves_no_trace_in_the_weights() -> None:
    module, images = SlowNorm(), torch.rand(8, 1)
    said: list[str] = []
    before = {name: value.clone() for name, value in module.state_dict().items()}

    def broken(module: torch.nn.Module, images: torch.Tensor) -> torch.nn.Module:
        raise ZeroDivisionError

    ways = [
        Way("wasteful", lambda module, images: lambda images: module(module(images)), 1e-6),
        Way("quick", lambda module, images: lambda images: module.get_submodule("norm")(images), 1e-6),
        Way("broken", broken, 1e-6),
        Way("long to prepare", lambda module, images: module, 3600.0),
    ]
    chosen = speedup.fastest(module, images, 10_000, ways, said.append)
    assert re.fullmatch(
        r"speed: forward and backward take eager \S+ ms, wasteful \S+ ms, quick \S+ ms, broken failed "
        r"\(ZeroDivisionError\), long to prepare not tried, the run is too short; using quick",
        said[0],
    )
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    calls = module.calls
    chosen(images)
    assert module.calls == calls
    chosen(images[:5])
    assert module.calls == calls + 1


class SlowNorm(torch.nn.Module):
    """Batch normalisation that wastes time first."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.calls = torch.nn.BatchNorm1d(1), 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        for _ in range(300):
            torch.rand(10)
        return self.norm(images)


def test_on_a_cpu_nothing_is_tried() -> None:
    module = SlowNorm()
    assert speedup.fastest(module, torch.rand(8, 1), 10**9) is module
    assert module.calls == 0


@pytest.mark.parametrize(("eager", "taken", "steps", "worth"), [(1, 0.5, 100, True), (1, 0.99, 10_000, False)])
def test_a_way_is_taken_only_when_it_gains_more_than_it_costs(
    eager: float, taken: float, steps: int, worth: bool
) -> None:
    way = Way("way", lambda module, images: module, 40)
    assert speedup.worth_taking(way, eager, taken, steps) is worth
    assert not speedup.worth_taking(way, eager, taken, 40)
