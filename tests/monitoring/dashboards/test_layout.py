"""Layout of the committed boards, as Grafana places them and users read them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from tests.monitoring.dashboards.boards import BOARDS, PANELS, overlaps
from trainserve.api.metrics import objects as metrics
from trainserve.dev.dashboards import build, links, palette
from trainserve.dev.dashboards.__main__ import main

Board = dict[str, Any]
COLUMNS = 24
NARROWEST = 4
"""Columns below which text is unreadable on a screen 1280 pixels wide."""


@pytest.fixture(params=sorted(BOARDS))
def board(request: pytest.FixtureRequest) -> Board:
    return BOARDS[request.param]


def test_the_committed_files_are_what_the_code_makes() -> None:
    assert build.stale() == []


def test_a_changed_or_missing_file_is_told_and_written_anew(tmp_path: Path) -> None:
    build.write(tmp_path)
    (tmp_path / "fleet.json").unlink()
    (tmp_path / "operator.json").write_text("{}")
    told = CliRunner().invoke(main, ["--check", str(tmp_path)])
    assert told.exit_code == 1
    assert "fleet.json" in told.output and "operator.json" in told.output and "trainjob.json" not in told.output
    assert CliRunner().invoke(main, [str(tmp_path)]).exit_code == 0
    assert CliRunner().invoke(main, ["--check", str(tmp_path)]).exit_code == 0


def test_there_are_the_four_boards_at_addresses_that_never_change() -> None:
    uids = ["trainserve-fleet", "trainserve-modelserve", "trainserve-operator", "trainserve-trainjob"]
    assert sorted(BOARDS) == uids == sorted(links.TITLES)


def test_a_board_read_as_typed_objects_is_written_as_the_same_json(board: Board) -> None:
    register_default_plugins()
    again = json.loads(json.dumps(Dashboard.from_json(board), cls=JSONEncoder))
    assert again == board


def test_no_two_panels_overlap(board: Board) -> None:
    assert overlaps({panel["title"]: panel["gridPos"] for panel in board["panels"]}) == []


def test_overlapping_rectangles_are_found_and_touching_ones_are_not() -> None:
    left, right = {"x": 0, "y": 0, "w": 12, "h": 8}, {"x": 12, "y": 0, "w": 12, "h": 8}
    below, across = {"x": 0, "y": 8, "w": 24, "h": 1}, {"x": 11, "y": 7, "w": 2, "h": 2}
    assert overlaps({"left": left, "right": right, "below": below}) == []
    found = overlaps({"left": left, "right": right, "below": below, "across": across})
    assert found == [("across", "below"), ("across", "left"), ("across", "right")]


def test_panels_fill_rows_of_24_columns_and_none_is_too_narrow_to_read(board: Board) -> None:
    rows: dict[int, list[dict[str, int]]] = {}
    for panel in board["panels"]:
        position = panel["gridPos"]
        assert position["w"] >= NARROWEST and position["h"] >= (1 if panel["type"] == "row" else 4), panel["title"]
        rows.setdefault(position["y"], []).append(position)
    for at, row in rows.items():
        assert sum(position["w"] for position in row) == COLUMNS, at
        assert len({position["h"] for position in row}) == 1, at


def test_titles_and_ids_are_unique_and_ids_follow_titles(board: Board) -> None:
    titles = [panel["title"] for panel in board["panels"] if panel["type"] != "row"]
    ids = [panel["id"] for panel in board["panels"]]
    assert len(titles) == len(set(titles))
    assert len(ids) == len(set(ids))
    same = {(panel["title"], panel["id"]) for _, panel in PANELS}
    assert len(same) == len({title for title, _ in same})


@pytest.mark.parametrize(("board", "panel"), PANELS, ids=lambda each: each["title"])
def test_a_panel_says_what_it_shows_in_which_unit_and_what_stands_there_without_data(
    board: Board, panel: dict[str, Any]
) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    assert panel["description"].endswith(".") and len(panel["description"]) > 10
    assert defaults["noValue"]
    if panel["type"] == "table":
        numbers = [each for each in panel["fieldConfig"]["overrides"] if _unit(each)]
        values = [name for name in _shown(panel) if name.startswith("Value")]
        assert len(numbers) == len(values)
    else:
        assert defaults["unit"]


def _unit(override: dict[str, Any]) -> bool:
    return any(given["id"] == "unit" for given in override["properties"])


def _shown(panel: dict[str, Any]) -> list[str]:
    (organize,) = (each for each in panel["transformations"] if each["id"] == "organize")
    return list(organize["options"]["renameByName"])


@pytest.mark.parametrize(("board", "panel"), PANELS, ids=lambda each: each["title"])
def test_a_graph_shows_its_legend_and_names_every_series(board: Board, panel: dict[str, Any]) -> None:
    if panel["type"] == "timeseries":
        assert panel["options"]["legend"]["showLegend"] is True
        assert all(target["legendFormat"] for target in panel["targets"])
    if panel["type"] == "heatmap":
        assert panel["options"]["legend"]["show"] is True


def test_a_table_leaves_out_every_column_that_it_does_not_name(board: Board) -> None:
    for panel in board["panels"]:
        if panel["type"] == "table":
            (organize,) = (each for each in panel["transformations"] if each["id"] == "organize")
            labels = set(re.findall(r"\w+", " ".join(re.findall(r"by \(([\w, ]+)\)", panel["targets"][0]["expr"])[:1])))
            assert set(organize["options"]["excludeByName"]) >= {"Time"}
            assert labels <= set(organize["options"]["renameByName"]), panel["title"]


COLOURS = re.compile(r'"(?:color|fixedColor|iconColor)": "([^"]+)"')


def test_colours_are_names_that_grafana_resolves_for_the_theme(board: Board) -> None:
    allowed = {value for name, value in vars(palette).items() if name.isupper() and isinstance(value, str)}
    heatmaps = {"rgba(255,0,255,0.7)"}  # the SDK's default for exemplars, which are not shown
    assert set(COLOURS.findall(json.dumps(board))) <= allowed | heatmaps


def test_every_phase_has_a_colour() -> None:
    text = Path(build.__file__).parents[4] / "operator" / "trainserve" / "operator"
    said = " ".join((text / path).read_text() for path in ("trainjob/state.py", "modelserve/plan.py"))
    phases = set(re.findall(r'return "([A-Z][a-z]+)"', said)) | {"Ready", "Degraded"}
    assert phases <= set(palette.PHASES)
    assert "phase" in metrics.TRAINJOB_PHASE.labels


def test_every_link_leads_to_a_board_and_sets_variables_that_it_has(board: Board) -> None:
    text = json.dumps(board)
    addresses = re.findall(r'"url": "([^"]+)"', text)
    assert addresses
    for address in addresses:
        found = re.match(r"/d/([\w-]+)\?", address)
        assert found and found[1] in BOARDS, address
        names = {variable["name"] for variable in BOARDS[found[1]]["templating"]["list"]}
        assert set(re.findall(r"var-(\w+)=", address)) <= names, address
        assert "${datasource:queryparam}" in address


def test_every_board_can_be_reached_from_every_other(board: Board) -> None:
    reached = {re.split(r"[/?]", link["url"])[2] for link in board["links"]}
    assert reached == set(BOARDS) - {board["uid"]}


def test_rows_of_the_fleet_lead_to_the_boards_of_their_objects() -> None:
    text = json.dumps(BOARDS[links.FLEET])
    for uid, variable, column in (
        (links.TRAINJOB, "trainjob", "TrainJob"),
        (links.MODELSERVE, "modelserve", "ModelServe"),
    ):
        assert re.search(rf"/d/{uid}\?[^\"]*var-namespace=\${{__data.fields.Namespace}}", text)
        assert f"var-{variable}=${{__data.fields.{column}}}" in text


def test_times_refresh_and_tags_are_as_promised(board: Board) -> None:
    assert board["time"] == {"from": "now-24h" if board["uid"] == links.FLEET else "now-1h", "to": "now"}
    assert board["refresh"] == "30s"
    assert board["tags"] == ["trainserve"]
    assert board["schemaVersion"] == 42
