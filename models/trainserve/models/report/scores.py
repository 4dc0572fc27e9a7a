"""Scores of predictions for a test split. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

BINS = 10
"""Number of confidence bins, of equal width from 0 to 1."""


@dataclass(frozen=True)
class OfClass:
    """Scores of one class; precision is None if it was never predicted, recall if it has no samples."""

    number: int
    samples: int
    precision: float | None
    recall: float | None

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall; 0 if one is 0 or None."""
        both = (self.precision or 0.0) + (self.recall or 0.0)
        return 2 * (self.precision or 0.0) * (self.recall or 0.0) / both if both else 0.0


@dataclass(frozen=True)
class Confusion:
    """How often class `truth` was predicted as class `given`."""

    truth: int
    given: int
    count: int


@dataclass(frozen=True)
class Bin:
    """Predictions with confidence in `low` to `high`: their number, mean confidence and accuracy."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Residuals:
    """Residuals of one target: root mean square, mean magnitude and mean; R² is None for a constant target."""

    rmse: float
    mae: float
    bias: float
    r2: float | None


def by_class(truth: Ints, given: Ints, classes: int) -> list[OfClass]:
    """Precision and recall of each class."""
    samples, answered = (np.bincount(each, minlength=classes) for each in (truth, given))
    right = np.bincount(truth[truth == given], minlength=classes)
    return [
        OfClass(
            number,
            int(samples[number]),
            _share(right[number], answered[number]),
            _share(right[number], samples[number]),
        )
        for number in range(classes)
    ]


def worst_first(classes: Sequence[OfClass]) -> list[OfClass]:
    """Classes with samples, sorted by F1, lowest first."""
    return sorted((each for each in classes if each.samples), key=lambda each: (each.f1, each.number))


def matrix(truth: Ints, given: Ints, classes: int) -> Ints:
    """The confusion matrix (classes, classes): true classes in rows, predicted ones in columns."""
    return np.bincount(truth * classes + given, minlength=classes * classes).reshape(classes, classes)


def confusions(truth: Ints, given: Ints, most: int) -> list[Confusion]:
    """The `most` frequent confusions, without building the matrix, because there may be many classes."""
    wrong = truth != given
    pairs, counts = np.unique(np.stack([truth[wrong], given[wrong]]), axis=1, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:most]
    return [Confusion(int(pairs[0, each]), int(pairs[1, each]), int(counts[each])) for each in order]


def calibration(confidence: NDArray[Any], right: NDArray[np.bool_], bins: int = BINS) -> list[Bin]:
    """Calibration bins that are not empty. A NaN counts as confidence 0."""
    sure = np.nan_to_num(confidence.astype(np.float64)).clip(0, 1)
    of = np.minimum((sure * bins).astype(np.int64), bins - 1)
    counts = np.bincount(of, minlength=bins)
    sums, rights = (np.bincount(of, weights=each, minlength=bins) for each in (sure, right))
    return [
        Bin(each / bins, (each + 1) / bins, int(counts[each]), sums[each] / counts[each], rights[each] / counts[each])
        for each in range(bins)
        if counts[each]
    ]


def calibration_error(bins: Sequence[Bin]) -> float:
    """Expected calibration error: the mean of |confidence - accuracy| over all predictions."""
    total = sum(each.count for each in bins)
    return sum(each.count * abs(each.accuracy - each.confidence) for each in bins) / total if total else 0.0


def mistakes(truth: Ints, given: Ints, confidence: NDArray[Any], most: int) -> Ints:
    """Numbers of wrongly predicted samples, most confident first, at most `most`."""
    wrong = np.flatnonzero(truth != given)
    order = np.argsort(-np.nan_to_num(confidence[wrong].astype(np.float64)), kind="stable")
    return wrong[order[:most]]


def residuals(truth: NDArray[Any], given: NDArray[Any]) -> Residuals:
    """Residuals of one target from true and predicted values, (N,) each."""
    wide = truth.astype(np.float64)
    difference = given.astype(np.float64) - wide
    spread = float(np.square(wide - wide.mean()).sum())
    return Residuals(
        rmse=float(np.sqrt(np.square(difference).mean())),
        mae=float(np.abs(difference).mean()),
        bias=float(difference.mean()),
        r2=1 - float(np.square(difference).sum()) / spread if spread > 0 else None,
    )


def evenly(count: int, most: int) -> Ints:
    """At most `most` evenly spaced positions out of `count`, including the first and the last."""
    return np.unique(np.linspace(0, max(count - 1, 0), min(most, count)).round().astype(np.int64))


def _share(part: np.int64, whole: np.int64) -> float | None:
    return float(part / whole) if whole else None
