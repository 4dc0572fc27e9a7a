"""The report's section on regression: residuals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainserve.models.report import figures, scores
from trainserve.models.report.facts import Tested
from trainserve.models.report.words import markup, number, short

_POINTS, _DRAWN, _TOLD = 500, 4, 100
"""Most points of a drawing; most targets that are drawn, and in the table."""


def section(tested: Tested, labels: Sequence[str]) -> dict[str, Any]:
    """The section's values for the template."""
    count = min(len(labels), _TOLD)
    drawn = min(count, _DRAWN)
    return {
        "targets": [_drawn(tested, each, labels[each]) for each in range(drawn)],
        "note": f"Residuals: answered - true. At most {_POINTS} of {len(tested.targets):,} samples are drawn as "
        f"points, {drawn} of {len(labels):,} target(s); on the dashed line an answer is perfect.",
        "all": [_told(tested, each, labels[each]) for each in range(count)],
    }


def _drawn(tested: Tested, target: int, label: str) -> dict[str, Any]:
    truth, given = _finite(tested, target)
    chosen = scores.evenly(len(truth), _POINTS)
    return {
        "label": short(label),
        "scatter": markup(figures.scatter(truth[chosen], given[chosen])) if len(truth) else "",
        "histogram": markup(figures.histogram(given - truth)) if len(truth) else "",
    }


def _told(tested: Tested, target: int, label: str) -> dict[str, str]:
    truth, given = _finite(tested, target)
    if not len(truth):
        return {"label": short(label), **dict.fromkeys(("rmse", "mae", "bias", "r2"), "no finite answer")}
    found = scores.residuals(truth, given)
    return {
        "label": short(label),
        "rmse": number(found.rmse),
        "mae": number(found.mae),
        "bias": number(found.bias),
        "r2": "constant" if found.r2 is None else f"{found.r2:.4f}",
    }


def _finite(tested: Tested, target: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """True and predicted values of one target, of the samples where both are finite."""
    truth, given = (each[:, target].astype(np.float64) for each in (tested.targets, tested.answers.given))
    known = np.isfinite(truth) & np.isfinite(given)
    return truth[known], given[known]
