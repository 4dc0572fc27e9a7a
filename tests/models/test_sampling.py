"""The order of samples: over epochs, parts of a batch, and processes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainserve.models.sampling import Sampling, chance


@given(st.integers(1, 200), st.integers(1, 64), st.integers(1, 9), st.integers(1, 5), st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_every_sample_is_in_one_part_of_one_process_and_weighs_the_same(
    count: int, batch: int, accumulate: int, processes: int, seed: int
) -> None:
    batch = min(batch, count)
    ranks = [Sampling(count, batch, accumulate, seed, rank, processes).steps(epoch=2) for rank in range(processes)]
    seen: list[int] = []
    for step in zip(*ranks, strict=True):
        weights = dict[int, float]()
        for part in (part for parts in step for part in parts if part.counted):
            for sample in part.samples.tolist():
                weights[sample] = part.weight / len(part.samples) / processes
        assert list(weights.values()) == pytest.approx([1 / len(weights)] * len(weights))
        seen += weights
    assert sorted(seen) == list(range(count))


def test_an_epoch_goes_on_where_it_was_left() -> None:
    sampling = Sampling(50, 8, 1, seed=3)
    later = [parts[0].samples.tolist() for parts in sampling.steps(4, done=3)]
    assert later == [parts[0].samples.tolist() for parts in sampling.steps(4)][3:]
    assert later != [parts[0].samples.tolist() for parts in sampling.steps(5, done=3)]


def test_what_chance_gives_for_one_purpose_says_nothing_of_another() -> None:
    drawn = {chance(seed, purpose, number) for seed in (0, 1) for purpose in ("order", "step") for number in range(50)}
    assert len(drawn) == 200
    assert all(0 <= seed < 2**63 for seed in drawn)
