"""The API server's clock, estimated from its answers, next to a clock of this node that may be wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.operator.support import NOW, after
from trainserve.operator import times
from trainserve.operator.clock import ServerClock


class Monotonic:
    """A monotonic clock that tests advance."""

    seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def answer(clock: ServerClock, monotonic: Monotonic, server: datetime, there: float, back: float) -> None:
    """Simulate a request answered at time `server`, which took `there` and `back` seconds each way."""
    asked = clock.elapsed()
    monotonic.seconds += there + back
    clock.hear(format_datetime(server.replace(microsecond=0), usegmt=True), asked)


@given(
    ahead=st.floats(-90000, 90000),
    answers=st.lists(
        st.tuples(st.floats(0, 100), st.floats(0, 2), st.floats(0, 2)),
        min_size=1,
        max_size=20,
    ),
)
def test_it_is_never_further_off_than_an_answers_second_and_its_way(
    ahead: float, answers: list[tuple[float, float, float]]
) -> None:
    monotonic = Monotonic()
    clock = ServerClock(monotonic)

    def server() -> datetime:
        return NOW + timedelta(seconds=ahead + monotonic.seconds)

    for pause, there, back in answers:
        monotonic.seconds += pause
        answer(clock, monotonic, server() + timedelta(seconds=there), there, back)
        assert abs((clock.now() - server()).total_seconds()) <= 1.01 + there + back


def test_it_follows_a_server_whose_clock_is_set_back() -> None:
    monotonic = Monotonic()
    clock = ServerClock(monotonic)
    answer(clock, monotonic, after(86400), 0.01, 0.01)
    answer(clock, monotonic, after(0), 0.01, 0.01)
    assert abs((clock.now() - NOW).total_seconds()) <= 1.1


@pytest.mark.parametrize("date", ["", "yesterday", "Mon, 99 Nov 2026 16:00:00 GMT"])
def test_a_date_that_cannot_be_read_changes_nothing(date: str) -> None:
    monotonic = Monotonic()
    clock = ServerClock(monotonic)
    answer(clock, monotonic, NOW, 0.0, 0.0)
    clock.hear(date, clock.elapsed())
    assert clock.now() == NOW


def test_without_an_answer_it_is_this_nodes_own() -> None:
    assert abs((ServerClock().now() - datetime.now(UTC)).total_seconds()) < 60


def test_a_span_that_has_begun_ends_in_time_and_one_that_begins_in_an_hour_is_a_wrong_clocks() -> None:
    span = timedelta(seconds=10)
    assert times.left(NOW, span, after(3)) == timedelta(seconds=7)
    assert times.left(NOW, span, after(11)) == timedelta()
    assert times.left(after(3600), span, NOW) == timedelta()
