"""What a model answered for each row, as a table, as one JSON document or as CSV."""

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
"""The figure that ranks classes: a probability, or a score of any size, such as a logit."""


@dataclass(frozen=True)
class Seen:
    """The likeliest classes of one row of a file, as (index, label, figure), the likeliest first."""

    file: str
    row: int
    top: Sequence[tuple[int, str, float]]


@dataclass(frozen=True)
class Estimated:
    """The values that a regression gave for one row of a file, by label."""

    file: str
    row: int
    values: Sequence[tuple[str, float]]


def of_classes(answers: Sequence[Seen], form: Format, figure: Figure) -> str:
    """One entry a row; CSV has one line for each of its classes, with `rank` from 1."""
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
    """One entry a row, with a column for each value."""
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
    """A list with an entry a line, which a person can read and `grep` can search."""
    return "[" + ",".join(f"\n  {json.dumps(row, ensure_ascii=False)}" for row in rows) + "\n]"


def _csv(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().rstrip("\n")


def _finite(value: float) -> float | None:
    """The digits that a float32 has; JSON has neither NaN nor infinity."""
    return float(f"{value:.7g}") if math.isfinite(value) else None
