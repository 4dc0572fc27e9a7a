from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from trainserve.serving.load.latency import percentile, summary, upper_median
from trainserve.serving.load.record import Sample


def sample(latencies: object, **others: Any) -> Sample:
    given: dict[str, Any] = {"seconds": 2.0, "finished": 100, "waiting": 0}
    return Sample(np.asarray(latencies, float), **(given | others))


def test_a_percentile_is_a_value_that_was_measured_and_needs_one_beyond_it() -> None:
    thousand = np.arange(1, 1001)
    assert [percentile(thousand, each) for each in (50, 90, 99, 99.9)] == [500, 900, 990, 999]
    assert percentile(np.arange(1, 100), 99) is None
    assert percentile(np.arange(1, 101), 99) == 99
    assert percentile(np.array([]), 50) is None


def test_a_summary_is_in_milliseconds_and_answers_per_second() -> None:
    told = summary(sample([0.001, 0.002, 0.004], finished=3, errors=1, first_error="no"))
    assert (told.p50_ms, told.max_ms, told.requests, told.rate, told.errors) == (2.0, 4.0, 4, 1.5, 1)
    assert told.p99_ms is None


@pytest.mark.parametrize(
    ("waiting", "unanswered", "kept_up"), [(0, 0, True), (10, 0, True), (21, 0, False), (0, 1, False)]
)
def test_an_open_loop_kept_up_when_few_wait_at_its_end(waiting: int, unanswered: int, kept_up: bool) -> None:
    told = summary(sample(np.ones(1000), waiting=waiting, unanswered=unanswered, offered=500.0))
    assert told.kept_up is kept_up


def test_the_bound_of_a_median_is_the_order_statistic_of_that_confidence() -> None:
    assert upper_median([3.0]) == 3
    assert upper_median([1, 2, 3, 4]) == 4  # coverage 1 - 1/16 = 94 %; the third would give 69 %
    assert upper_median([1, 2, 3, 4, 5]) == 5  # the fourth would give 81 %
    assert upper_median([8, 7, 6, 5, 4, 3, 2, 1]) == 7  # coverage 1 - 9/256 = 96 %
    assert upper_median([1, 2, 3], confidence=0.5) == 2


def test_the_bound_holds_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    rounds = generator.lognormal(0, 1, (4000, 5))  # median 1
    covered = np.mean([upper_median(each) >= 1 for each in rounds])
    assert covered >= 0.95
