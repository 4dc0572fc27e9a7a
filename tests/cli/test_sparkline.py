from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainserve.cli.sparkline import sparkline


@pytest.mark.parametrize(
    ("values", "width", "line"),
    [
        ([], 40, ""),
        ([None, None], 40, ""),
        ([1.0], 40, "▁"),
        ([0.0, 7.0], 40, "▁█"),
        ([7.0, 3.5, 0.0], 40, "█▅▁"),
        ([1.0, None, 1.0], 40, "▁ ▁"),
        ([0.0, 2.0, 8.0, 6.0], 2, "▁█"),
        ([1.0, float("nan"), float("inf"), 2.0], 40, "▁  █"),
    ],
)
def test_a_curve_is_one_line(values: list[float | None], width: int, line: str) -> None:
    assert sparkline(values, width) == line


@given(
    values=st.lists(st.none() | st.floats(-1e300, 1e300), max_size=100),
    width=st.integers(1, 60),
)
def test_no_line_is_wider_than_asked_for(values: list[float | None], width: int) -> None:
    line = sparkline(values, width)
    assert len(line) <= width
    assert {*line} <= {*" ▁▂▃▄▅▆▇█"}
