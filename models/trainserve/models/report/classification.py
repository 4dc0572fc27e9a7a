"""The report's section on classification: confusion, precision and recall, calibration, mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from trainserve.models.report import figures, pictures, scores
from trainserve.models.report.facts import Tested
from trainserve.models.report.scores import OfClass
from trainserve.models.report.words import escaped_bytes, markup, share, short

_WORST, _CONFUSIONS, _MISTAKES = 30, 15, 24
_IN_A_TABLE, _IN_A_DRAWING = 20, 200
"""Most classes of a confusion matrix shown as a table, and as a drawing."""
_ALL_CLASSES, _ROW = 250_000, 130
"""Most bytes of the table of all classes, and bytes of a row without its label."""


def section(tested: Tested, labels: Sequence[str]) -> dict[str, Any]:
    """The section's values for the template."""
    truth, given = tested.targets.astype(np.int64), tested.answers.given.astype(np.int64)
    assert tested.answers.confidence is not None
    count = len(labels)
    classes = scores.by_class(truth, given, count)
    worst = scores.worst_first(classes)
    bins = scores.calibration(tested.answers.confidence, truth == given)
    everyone, cut = _all(classes, labels) if len(worst) > _WORST else ([], None)
    matrix = scores.matrix(truth, given, count) if count <= _IN_A_DRAWING else None
    return {
        "count": f"{count:,}",
        "matrix": _table(matrix, labels) if matrix is not None and count <= _IN_A_TABLE else None,
        "heat": markup(figures.heat(_shares(matrix))) if matrix is not None and count > _IN_A_TABLE else None,
        "confusions": [
            {"truth": _label(labels, each.truth), "given": _label(labels, each.given), "count": each.count}
            for each in scores.confusions(truth, given, _CONFUSIONS)
        ],
        "reliability": markup(figures.reliability(bins)),
        "calibration": f"Expected calibration error (ECE, {scores.BINS} bins): {scores.calibration_error(bins):.4f}. "
        "Bars: accuracy of the answers by their confidence. Dots: mean confidence of each bar's answers; on the dashed "
        "line both are equal, below it the model is overconfident.",
        "worst": [_class_row(each, labels) for each in worst[:_WORST]]
        if everyone or cut
        else [_class_row(each, labels) for each in classes],
        "others": f"The {_WORST} classes with the lowest F1, of {count:,}." if everyone or cut else None,
        "all": everyone,
        "cut": cut,
        **_mistakes(tested, labels),
    }


def _shares(matrix: scores.Ints) -> Any:
    return matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)


def _table(matrix: scores.Ints, labels: Sequence[str]) -> dict[str, Any]:
    shares = _shares(matrix)
    return {
        "labels": [short(label, 24) for label in labels],
        "rows": [
            {
                "label": short(labels[row], 24),
                "cells": [
                    {
                        "count": int(matrix[row, column]) or "",
                        "style": _colour(shares[row, column], row == column),
                    }
                    for column in range(len(labels))
                ],
            }
            for row in range(len(labels))
        ],
    }


def _colour(part: float, right: bool) -> str | None:
    """A cell's colour for the share `part` of its row, transparent so that it works in both themes; None for 0."""
    if not part:
        return None
    return f"rgba({'59,130,196' if right else '224,122,63'},{0.15 + 0.6 * part**0.5:.2f})"


def _all(classes: Sequence[OfClass], labels: Sequence[str]) -> tuple[list[dict[str, str]], str | None]:
    """Rows of the table of all classes, as many as fit, and a note if some are left out."""
    rows, room = [], _ALL_CLASSES
    for each in classes:
        row = _class_row(each, labels)
        room -= _ROW + escaped_bytes(row["label"])
        if room < 0:
            break
        rows.append(row)
    return rows, f"Only the first {len(rows):,}; the page would become too large." if len(rows) < len(classes) else None


def _class_row(each: OfClass, labels: Sequence[str]) -> dict[str, str]:
    unknown = "–"  # noqa: RUF001
    return {
        "label": _label(labels, each.number),
        "precision": unknown if each.precision is None else f"{each.precision:.3f}",
        "recall": unknown if each.recall is None else f"{each.recall:.3f}",
        "f1": unknown if not each.samples else f"{each.f1:.3f}",
        "samples": f"{each.samples:,}",
    }


def _label(labels: Sequence[str], position: int) -> str:
    return short(labels[position])


def _mistakes(tested: Tested, labels: Sequence[str]) -> dict[str, Any]:
    truth, given, confidence = tested.targets, tested.answers.given, tested.answers.confidence
    assert confidence is not None
    chosen = scores.mistakes(truth, given, confidence, _MISTAKES)
    rows = []
    for sample in chosen.tolist():
        picture = pictures.pixels(np.asarray(tested.samples[sample]))
        rows.append(
            {
                "sample": sample,
                "given": _label(labels, int(given[sample])),
                "truth": _label(labels, int(truth[sample])),
                "confidence": share(float(confidence[sample])),
                "picture": None if picture is None else pictures.address(picture),
            }
        )
    wrong = int((truth != given).sum())
    told = f"{len(rows)} of {wrong:,} wrong answers, most confident first; samples are numbered from 0."
    if rows and rows[0]["picture"] is None:
        told += " The samples are not images."
    return {"mistakes": rows, "mistakes_note": told}
