"""Previews of the dashboards: what is captured, from what, and what the page needs to know of boards."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from trainserve.dev.preview import page, scene
from trainserve.dev.preview.__main__ import DASHBOARDS, PICTURED

BOARDS: dict[str, dict[str, Any]] = {path.stem: json.loads(path.read_text()) for path in DASHBOARDS.glob("*.json")}


def test_every_board_is_pictured_and_one_of_them_in_the_dark() -> None:
    assert {shot.dashboard for shot in PICTURED} == set(BOARDS)
    assert [shot.file for shot in PICTURED if shot.parameters.get("theme") == "dark"] == ["modelserve-dark.png"]
    assert len({shot.file for shot in PICTURED}) == len(PICTURED)


def test_the_page_draws_every_kind_of_panel_that_the_boards_have() -> None:
    drawn = set(
        re.findall(r"case '(\w+)'|panel\.type === '(\w+)'", (page.SOURCE / "src" / "PanelView.tsx").read_text())
    )
    known = {name for pair in drawn for name in pair if name} | {"row"}
    assert {panel["type"] for board in BOARDS.values() for panel in board["panels"]} <= known


def test_the_page_knows_the_way_in_which_every_annotation_has_its_time() -> None:
    marks = [mark for board in BOARDS.values() for mark in board["annotations"]["list"]]
    assert marks
    assert all(mark["useValueForTime"] for mark in marks)


@pytest.mark.parametrize("version", ["v20.19.0\n", "v20.20.2\n", "v22.12.0\n", "v100.1.0\n"])
def test_a_node_that_is_new_enough_is_taken(version: str) -> None:
    page.check_node(version)


@pytest.mark.parametrize(("version", "told"), [("v18.20.4\n", "v18.20.4"), ("v20.18.9\n", "v20.18.9"), ("", "none")])
def test_an_older_node_or_none_is_told(version: str, told: str) -> None:
    with pytest.raises(page.PreviewError, match=rf"Node 20\.19 or newer is needed with npm; found: {told}"):
        page.check_node(version)


def test_a_missing_browser_is_told_with_what_installs_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(page.PreviewError, match="apt-get install --no-install-recommends chromium"):
        page.chromium()


def test_the_load_swings_about_its_mean_and_comes_back() -> None:
    waves = [scene.rate(40, 0.5, 240, seconds) for seconds in range(240)]
    assert sum(waves) / len(waves) == pytest.approx(40)
    assert [min(waves), max(waves)] == pytest.approx([20, 60], abs=0.1)
    assert scene.rate(40, 0.5, 240, 240) == pytest.approx(waves[0])


@pytest.mark.parametrize("samples", [0, 100_000, 10_000_000])
def test_a_run_that_has_to_last_longer_learns_more_slowly(samples: float) -> None:
    trainer = scene.night(samples)["trainer"]
    assert trainer["epochs"] == max(2, round(samples / scene.SAMPLES))
    assert trainer["learningRate"] * trainer["epochs"] == pytest.approx(scene.LEARNT)


def test_what_is_pictured_is_made_by_the_scene() -> None:
    assert scene.SERVED in scene.SERVES
    assert set(scene.RATES) == set(scene.SERVES)
