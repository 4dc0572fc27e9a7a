"""docs/benchmarks.md: its figures match bench/results, and each goal has the right direction (≤ or ≥)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.page import PAGE, SECTION, amount, filled, goal
from bench.report import RESULTS

RESULT = {
    "machine": {"cpu": "Intel(R) Xeon(R)", "cores": 2, "memoryGiB": 24, "kernel": "6"},
    "n": {"runs": 1500},
    "bars": [
        {"name": "start -> end", "value": 1234.5, "unit": "ms", "goal": 2000, "ok": True},
        {"name": "memory", "value": 0.12345, "unit": "GB", "goal": None, "ok": None},
    ],
}


def test_the_page_has_the_figures_that_were_measured_last() -> None:
    assert filled(PAGE.read_text()) == PAGE.read_text(), "run `make docs`"
    assert {found[1] for found in SECTION.findall(PAGE.read_text())} == {
        path.stem for path in RESULTS.glob("*.json") if json.loads(path.read_text())["bars"]
    }


def test_a_table_names_the_machine_and_the_repetitions(tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text(json.dumps(RESULT))
    page = "before\n<!-- figures: one -->\nold\n<!-- end -->\n<!-- figures: one with a goal -->\n<!-- end -->\nafter\n"
    head = "2 cores of Intel Xeon, 24 GiB; runs = 1,500.\n\n| figure | measured | goal |\n|---|---|---|\n"
    row, other = "| start → end | 1,234 ms | ≤ 2,000 ms |\n", "| memory | 0.123 GB |  |\n"
    assert filled(page, tmp_path) == (
        f"before\n<!-- figures: one -->\n{head}{row}{other}<!-- end -->\n"
        f"<!-- figures: one with a goal -->\n{head}{row}<!-- end -->\nafter\n"
    )


@pytest.mark.parametrize(
    ("value", "target", "ok", "said"),
    [
        (1, 2, True, "≤ 2 s"),
        (3, 2, True, "≥ 2 s"),
        (2, 2, True, "2 s"),
        (1, 2, False, "≥ 2 s (missed)"),
        (3, 2, False, "≤ 2 s (missed)"),
        (3, None, None, ""),
    ],
)
def test_the_side_of_a_goal_follows_from_whether_it_was_reached(
    value: float, target: float | None, ok: Any, said: str
) -> None:
    assert goal({"value": value, "goal": target, "unit": "s", "ok": ok}) == said


@pytest.mark.parametrize(
    ("value", "unit", "written"),
    [
        (31234.5, "req/s", "31,234 req/s"),
        (0.87, "s", "0.87 s"),
        (100, "", "100"),
        (0, "", "0"),
        (20, "of 20", "20 of 20"),
    ],
)
def test_an_amount_has_three_digits_or_its_whole_part(value: float, unit: str, written: str) -> None:
    assert amount(value, unit) == written
