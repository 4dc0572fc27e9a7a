"""Formatting of a model's predictions as a table, JSON or CSV."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from trainserve.cli.table import table

Format = Literal["table", "json", "csv"]
Figure = Literal["probability", "score"]
"""Kind of number that ranks the classes: a probability, or a score of any range, such as a logit."""


@dataclass(frozen=True)
class Seen:
    """The most likely classes of one row of a file, as (index, label, figure), most likely first."""

    file: str
    row: int
    top: Sequence[tuple[int, str, float]]


@dataclass(frozen=True)
class Estimated:
    """The values that a regression predicted for one row of a file, as (label, value)."""

    file: str
    row: int
    values: Sequence[tuple[str, float]]


def of_classes(answers: Sequence[Seen], form: Format, figure: Figure) -> str:
    """Format `answers` with one entry per row; CSV has one line per class, with its `rank` from 1."""
    if form == "json":
        return _json([{"file": each.file, "row": each.row} | _best(each, figure) for each in answers])
    lines = [
        (each.file, str(each.row), rank, label, f"{value:.7g}")
        for each in answers
        for rank, (_, label, value) in enumerate(each.top, 1)
    ]
    if form == "csv":
        return _csv(["file", "row", "rank", "label", figure], lines)
    cells = [
        [
            file if rank == 1 else "",
            row if rank == 1 else "",
            label,
            f"{float(value):{'.4f' if figure == 'probability' else '.6g'}}",
        ]
        for file, row, rank, label, value in lines
    ]
    return table(["FILE", "ROW", "LABEL", figure.upper()], cells)


def of_values(answers: Sequence[Estimated], form: Format) -> str:
    """Format `answers` with one entry per row and one column per value."""
    if form == "json":
        return _json(
            [
                {"file": each.file, "row": each.row, "values": {label: _finite(value) for label, value in each.values}}
                for each in answers
            ]
        )
    labels = [label for label, _ in answers[0].values] if answers else []
    if form == "csv":
        return _csv(
            ["file", "row", *labels],
            [[each.file, each.row, *(f"{value:.7g}" for _, value in each.values)] for each in answers],
        )
    cells = [[each.file, str(each.row), *(f"{value:.6g}" for _, value in each.values)] for each in answers]
    return table(["FILE", "ROW", *(label.upper() for label in labels)], cells)


def _best(seen: Seen, figure: Figure) -> dict[str, object]:
    top = [{"index": index, "label": label, figure: _finite(value)} for index, label, value in seen.top]
    return top[0] | {"top": top}


def _json(rows: Sequence[dict[str, object]]) -> str:
    """A JSON list with one entry per line, so that people can read it and `grep` can search it."""
    return "[" + ",".join(f"\n  {json.dumps(row, ensure_ascii=False)}" for row in rows) + "\n]"


def _csv(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().rstrip("\n")


def _finite(value: float) -> float | None:
    """`value` in the precision of a float32; None for NaN and infinity, which JSON lacks."""
    return float(f"{value:.7g}") if math.isfinite(value) else None
