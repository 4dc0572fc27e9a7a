from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainserve.api.scalars.duration import PATTERN, microseconds, seconds


@pytest.mark.parametrize(
    ("text", "expected"),
    [("500us", "0.0005"), ("20ms", "0.02"), ("1.5s", "1.5"), ("2m", "120"), ("1h", "3600"), ("0ms", "0")],
)
def test_a_duration_is_read_exactly(text: str, expected: str) -> None:
    assert seconds(text) == Decimal(expected)


@pytest.mark.parametrize("text", ["", "5", "ms", "-1s", "1 s", "1d", "1s\n", "1e3s"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        seconds(text)


@given(st.integers(0, 10**9 - 1))
def test_whole_microseconds_stay_as_they_are(number: int) -> None:
    assert microseconds(f"{number}us") == number


@given(st.from_regex(PATTERN, fullmatch=True))
def test_rounding_up_adds_less_than_a_microsecond(text: str) -> None:
    exact = seconds(text) * 1_000_000
    assert exact <= microseconds(text) < exact + 1
