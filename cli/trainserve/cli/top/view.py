"""Layout of the tables in a given width and height. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from trainserve.cli.top.figures import P99
from trainserve.cli.top.rows import Row, Serving, Training, clean, ordered
from trainserve.cli.top.watcher import Snapshot

GAP = 2
LEAST_NAME, LEAST_WHY = 12, 16
"""Minimum width of names and of reasons on a narrow terminal."""
_STYLES = {
    **dict.fromkeys(("Running", "Ready"), "green"),
    "Complete": "cyan",
    **dict.fromkeys(("Failed", "Refused"), "bold red"),
    **dict.fromkeys(("Degraded", "Restarting"), "red"),
    **dict.fromkeys(("Pending", "Unschedulable", "Waiting", "Starting", "Updating"), "yellow"),
}
_NOTHING = Text("-", style="dim")


@dataclass(frozen=True)
class Column:
    """One figure of each row. If not all columns fit, those with the smallest `weight` are dropped first."""

    heading: str
    cell: Callable[[Any], Text]
    weight: int
    least: int = 0
    """Minimum width, so that the columns beside it stay in place while figures change."""
    right: bool = True


def screen(snapshot: Snapshot, sort: str, width: int, height: int, every: float) -> list[Text]:
    """Lines that fill a terminal: a heading, both tables, notes, keys."""
    head = heading(snapshot, f"every {every:g} s")
    foot = [*_noted(snapshot), _keys(snapshot, sort)]
    listed = (ordered(snapshot.trainings, sort), ordered(snapshot.servings, sort))
    room = height - len(head) - len(foot) - 2  # an empty line before each table
    shares = fit((1 + max(1, len(listed[0])), 1 + max(1, len(listed[1]))), room)
    body: list[Text] = []
    for columns, rows, share in zip((trainjobs(snapshot), modelserves(snapshot)), listed, shares, strict=True):
        body += [Text(), *table(columns, rows, width, max(0, share - 1))]
    filled = [*head, *body][: max(0, height - len(foot))]
    filled += [Text()] * (height - len(foot) - len(filled))
    return [_cut(line, width) for line in (filled + foot)[-height:]]


def page(snapshot: Snapshot, sort: str, width: int) -> list[Text]:
    """All rows of both tables, and the notes, in lines of at most `width`."""
    lines = heading(snapshot)
    for columns, rows in ((trainjobs(snapshot), snapshot.trainings), (modelserves(snapshot), snapshot.servings)):
        lines += [Text(), *table(columns, ordered(rows, sort), width, None)]
    if snapshot.notes:
        lines += [Text(), *_noted(snapshot)]
    return [_cut(line, width) for line in lines]


def heading(snapshot: Snapshot, every: str = "") -> list[Text]:
    """Two lines: cluster, namespace and time; the number of objects by phase, and of the GPUs that they request."""
    where = [snapshot.context, f"namespace {clean(snapshot.namespace)}" if snapshot.namespace else "all namespaces"]
    at = snapshot.at.astimezone().strftime("%H:%M:%S")
    first = Text.assemble(("TrainServe", "bold"), "  ", " · ".join(part for part in [*where, at, every] if part))
    gpus = sum(row.gpus for row in snapshot.trainings) + sum(row.gpus for row in snapshot.servings)
    second = Text()
    for kind, rows in (("TrainJobs", snapshot.trainings), ("ModelServes", snapshot.servings)):
        second.append(f"{kind} {len(rows)}")
        for number, (phase, count) in enumerate(_counts(rows)):
            second.append(", " if number else ": ").append(f"{count} {phase}", _STYLES.get(phase, ""))
        second.append(" · ")
    return [first, second.append(f"GPUs requested {gpus}")]


def trainjobs(snapshot: Snapshot) -> list[Column]:
    """The columns of TrainJobs."""
    return [
        *_named("TRAINJOB", snapshot),
        Column("PHASE", _phase, 100, 8, right=False),
        Column("EPOCH", lambda row: _ratio(row.epoch, row.epochs), 80, 5),
        Column("LOSS", _loss, 60, 7),
        Column("ACC", lambda row: _number(row.accuracy, ".3f"), 75, 5),
        Column("IMG/S", lambda row: _number(row.rate, ",.0f"), 70, 6),
        Column("ETA", lambda row: _time(row.eta), 65, 5),
        Column("GPU", lambda row: _number(row.gpu, ".0%"), 40, 4),
        Column("MEM", lambda row: _bytes(row.memory), 30, 5),
        Column("TRY", lambda row: Text(str(row.attempts), style="yellow" if row.attempts > 1 else ""), 20, 3),
        Column("AGE", lambda row: _time(row.age), 50, 5),
        Column("WHY", lambda row: Text(row.why), 90, right=False),
    ]


def modelserves(snapshot: Snapshot) -> list[Column]:
    """The columns of ModelServes."""
    return [
        *_named("MODELSERVE", snapshot),
        Column("PHASE", _phase, 100, 8, right=False),
        Column("READY", _ready, 80, 5),
        Column("VERSION", lambda row: _NOTHING if row.version is None else Text(str(row.version)), 60, 7),
        Column("REQ/S", lambda row: _number(row.rate, ",.1f" if (row.rate or 0) < 100 else ",.0f"), 75, 6),
        Column("P99", _p99, 70, 7),
        Column("AGE", lambda row: _time(row.age), 50, 5),
        Column("WHY", lambda row: Text(row.why), 90, right=False),
    ]


def table(columns: Sequence[Column], rows: Sequence[Row], width: int, most: int | None) -> list[Text]:
    """The heading, and `rows` in at most `most` lines, of which the last counts the rows that are left out."""
    shown = rows if most is None or len(rows) <= most else rows[: max(0, most - 1)]
    cells = [[column.cell(row) for column in columns] for row in shown]
    widths = fitted(columns, cells, width)
    kept = [number for number, given in enumerate(widths) if given]

    def line(texts: Sequence[Text]) -> Text:
        drawn = Text()
        for number in kept:
            drawn.append(" " * GAP if drawn else "")
            drawn.append(_aligned(texts[number].plain, widths[number], columns[number].right), texts[number].style)
        return drawn

    lines = [line([Text(column.heading, style="bold") for column in columns]), *map(line, cells)]
    if len(shown) < len(rows) and most:
        left = ", ".join(f"{count} {phase}" for phase, count in _counts(rows[len(shown) :]))
        lines.append(Text(f"… and {len(rows) - len(shown)} more: {left}", style="dim"))
    return lines if rows else [*lines, Text("none", style="dim")]


def fitted(columns: Sequence[Column], cells: Sequence[Sequence[Text]], width: int) -> list[int]:
    """The width of each column; 0 for one that is dropped.

    If not everything fits, empty columns are dropped, then reasons and then names are cut, then figures are dropped.
    """
    widths = [
        max([cell_len(column.heading), column.least, *(cell_len(line[number].plain) for line in cells)])
        for number, column in enumerate(columns)
    ]
    why = len(columns) - 1
    if not any(line[why].plain for line in cells):
        widths[why] = 0

    def excess() -> int:
        kept = [each for each in widths if each]
        return sum(kept) + GAP * len(kept) - GAP - width

    def shrink(number: int, least: int) -> None:
        if widths[number] > least:
            widths[number] = max(least, widths[number] - max(0, excess()))

    lightest = sorted(range(len(columns)), key=lambda each: columns[each].weight)
    texts = [number for number, column in enumerate(columns[:why]) if column.weight > 100]
    for number in lightest:
        if excess() > 0 and columns[number].weight < 50 and all(line[number] is _NOTHING for line in cells):
            widths[number] = 0
    shrink(why, LEAST_WHY)
    for number in texts:
        shrink(number, max(LEAST_NAME, width // 5))
    for number in lightest:
        if excess() > 0 and columns[number].weight < 100:
            widths[number] = 0
            shrink(why, LEAST_WHY)
    for number in texts:
        shrink(number, 1)
    return widths


def fit(wanted: tuple[int, int], room: int) -> tuple[int, int]:
    """Divide `room` lines between two tables: half each, but what one does not need goes to the other."""
    room = max(0, room)
    first = min(wanted[0], max(room - wanted[1], room - room // 2))
    return first, min(wanted[1], room - first)


def duration(seconds: float) -> str:
    """Format `seconds` as kubectl does an age: with two units if the larger one alone is too coarse."""
    whole = int(seconds)
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if whole < 120:
        return f"{whole}s"
    if minutes < 10:
        return f"{minutes}m" + (f"{whole % 60}s" if whole % 60 else "")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h" + (f"{minutes % 60}m" if minutes % 60 else "")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return f"{days}d" + (f"{hours % 24}h" if hours % 24 else "")
    return f"{days}d" if days < 730 else f"{days // 365}y"


def _named(heading: str, snapshot: Snapshot) -> list[Column]:
    namespace = Column("NAMESPACE", lambda row: Text(row.namespace), 101, right=False)
    name = Column(heading, lambda row: Text(row.name), 102, LEAST_NAME, right=False)
    return [name] if snapshot.namespace else [namespace, name]


def _phase(row: Row) -> Text:
    return Text(row.phase, style=_STYLES.get(row.phase, ""))


def _loss(row: Training) -> Text:
    if row.loss is not None and math.isnan(row.loss):
        return Text("NaN", style="bold red")
    return _number(row.loss, ".3g")


def _ready(row: Serving) -> Text:
    if row.replicas is None:
        return _NOTHING
    ready = row.ready or 0
    return Text(f"{ready}/{row.replicas}", style="green" if ready >= row.replicas else "yellow" if ready else "red")


def _p99(row: Serving) -> Text:
    if row.p99 is None:
        return _NOTHING
    kept = row.objective is None or row.p99.ms <= row.objective
    return Text(_latency(row.p99), style="" if kept else "bold red")


def _latency(p99: P99) -> str:
    value = f"{p99.ms / 1000:.1f}s" if p99.ms >= 1000 else f"{p99.ms:.0f}ms" if p99.ms >= 100 else f"{p99.ms:.1f}ms"
    return f"{'>' if p99.beyond else ''}{'~' if p99.source == 'probe' else ''}{value}"


def _number(value: float | None, form: str) -> Text:
    return _NOTHING if value is None else Text(format(value, form))


def _ratio(value: float | None, whole: float | None) -> Text:
    return _NOTHING if whole is None else Text(f"{value or 0:.0f}/{whole:.0f}")


def _time(seconds: float | None) -> Text:
    return _NOTHING if seconds is None or seconds < 0 else Text(duration(seconds))


def _bytes(value: float | None) -> Text:
    if value is None:
        return _NOTHING
    return Text(f"{value / 2**30:.1f}G" if value >= 2**30 else f"{value / 2**20:.0f}M")


def _counts(rows: Sequence[Row]) -> list[tuple[str, int]]:
    return Counter(row.phase for row in ordered(rows, "phase")).most_common()


def _keys(snapshot: Snapshot, sort: str) -> Text:
    probed = any(row.p99 is not None and row.p99.source == "probe" for row in snapshot.servings)
    line = Text.assemble((" q ", "reverse"), " quit  ", (" s ", "reverse"), f" sorted by {sort}")
    return line.append("   ~ measured by the probe", "dim") if probed else line


def _noted(snapshot: Snapshot) -> list[Text]:
    return [Text(note, style="yellow") for note in snapshot.notes]


def _aligned(text: str, width: int, right: bool) -> str:
    missing = width - cell_len(text)
    if missing < 0:
        return set_cell_size(text, width - 1) + "…"
    return " " * missing + text if right else text + " " * missing


def _cut(line: Text, width: int) -> Text:
    if line.cell_len > width:
        line.truncate(max(1, width), overflow="ellipsis")
    line.no_wrap = True
    return line
