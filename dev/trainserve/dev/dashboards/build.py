"""All boards as the text of the chart's files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from trainserve.dev.dashboards.boards import fleet, modelserve, operator, trainjob
from trainserve.dev.dashboards.layout import Board, assembled

FOLDER = Path(__file__).parents[4] / "charts" / "trainserve" / "dashboards"
"""Folder of the committed JSON files."""
BOARDS: dict[str, Callable[[], Board]] = {
    "fleet": fleet.board,
    "trainjob": trainjob.board,
    "modelserve": modelserve.board,
    "operator": operator.board,
}
"""Boards by file name without suffix."""


def text(name: str) -> str:
    """Return the JSON of one board; it is the same at every call and on every machine."""
    dashboard = assembled(BOARDS[name]())
    return json.dumps(dashboard, cls=JSONEncoder, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def write(folder: Path = FOLDER) -> list[Path]:
    """Write the files and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.json" for name in BOARDS]
    for path in paths:
        path.write_text(text(path.stem))
    return paths


def stale(folder: Path = FOLDER) -> list[Path]:
    """Return the files that are missing or differ from what `write` would write."""
    paths = [folder / f"{name}.json" for name in BOARDS]
    return [path for path in paths if not path.exists() or path.read_text() != text(path.stem)]
