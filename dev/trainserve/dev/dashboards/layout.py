"""Layout of a board: under each section's title, panels flow from left to right in rows of 24 columns."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.models.dashboard import Dashboard, DashboardCursorSync

from trainserve.dev.dashboards import links
from trainserve.dev.dashboards.panels import Panel
from trainserve.dev.dashboards.variables import Variable, datasource


@dataclass(frozen=True)
class Section:
    """Panels under one title. Panels in one row have the same height, and widths that add up to 24 columns."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Board:
    """The parts of a board in which boards differ."""

    uid: str
    description: str
    sections: Sequence[Section]
    variables: Sequence[Variable]
    annotations: Sequence[builders.AnnotationQuery] = field(default_factory=tuple)
    since: str = "now-1h"


def assembled(board: Board) -> Dashboard:
    """Return the board as a Grafana dashboard."""
    title = links.TITLES[board.uid]
    made = builders.Dashboard(title).uid(board.uid).description(board.description).tags(["trainserve"])
    made.time(board.since, "now").refresh("30s").timezone("browser").tooltip(DashboardCursorSync.CROSSHAIR)
    made.editable().version(1).variables([datasource(), *board.variables]).links(links.boards(board.uid))
    made.annotations(list(board.annotations))
    for section in board.sections:
        made.with_row(builders.Row(section.title).id(zlib.crc32(section.title.encode()) % 1_000_000 + 1_000_001))
        for panel in section.panels:
            made.with_panel(panel)
    return made.build()
