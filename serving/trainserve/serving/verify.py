"""Compares what a running server answered with what PyTorch gave for the same samples. Pure: arrays in, verdict out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Arrays = Mapping[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Comparison:
    """`max_abs` and `max_rel` are the largest differences; `worst` the sample, and `output` its output, furthest
    outside, or nearest to, the bound |got - expected| <= atol + rtol * |expected| (numpy.isclose), with both of its
    rows; None where there is nothing to set side by side."""

    matches: bool
    samples: int
    max_abs: float
    max_rel: float
    worst: int
    output: str
    message: str
    expected: np.ndarray[Any, Any] | None = None
    got: np.ndarray[Any, Any] | None = None


def compare(
    expected: Arrays,
    got: Arrays,
    rtol: float,
    atol: float,
    indexes: Mapping[str, str] | None = None,
    rows: np.ndarray[Any, Any] | None = None,
) -> Comparison:
    """Compare every output of `expected`, whose arrays have one row per answer, with `got`.

    A missing output, another shape and a NaN do not match. `indexes` names for an output of positions (the labels of
    the top k) the output that they point into: what they point at is compared, at twice the tolerance, so that of two
    classes as good as equal either may come first. `rows` are the numbers of the samples, which may come more than
    once; by default 0, 1, 2 ….
    """
    indexes = indexes or {}
    answers = min(len(array) for array in expected.values())
    rows = np.arange(answers) if rows is None else rows
    samples = len(set(rows.tolist()))
    if found := unlike(expected, got, samples):
        return found
    max_abs = max_rel = 0.0
    worst, worst_output, worst_excess = 0, "", -np.inf
    for name, truth in expected.items():
        slack, answer = 1, got[name]
        if name in indexes:
            slack, whole = 2, expected[indexes[name]]
            if not _distinct(answer, whole.shape[-1]):
                return _unlike(samples, name, f"output {name}: not distinct positions in {indexes[name]}")
            truth, answer = np.take_along_axis(whole, truth, -1), np.take_along_axis(whole, answer, -1)
        wide, answered = truth.astype(np.float64), answer.astype(np.float64)
        difference = np.abs(answered - wide).reshape(answers, -1)
        size = np.nan_to_num(np.abs(wide)).reshape(answers, -1)  # what was recorded as no number, nothing matches
        difference[np.isnan(difference)] = np.inf
        relative = np.divide(difference, size, out=np.zeros_like(difference), where=size > atol)
        if name not in indexes:
            max_abs, max_rel = max(max_abs, float(difference.max())), max(max_rel, float(relative.max()))
        excess = (difference - slack * (atol + rtol * size)).max(axis=1)
        if excess.max() > worst_excess:
            worst_excess, worst, worst_output = float(excess.max()), int(excess.argmax()), name
    matches = worst_excess <= 0
    message = f"{samples} samples, max abs difference {max_abs:.2g}"
    truth, answer = expected[worst_output][worst], got[worst_output][worst]
    if not matches:
        message += (
            f", outside rtol {rtol:g} and atol {atol:g}; worst: sample {rows[worst]}, output {worst_output}, expected "
            f"{shown(truth)}, got {shown(answer)}"
        )
    return Comparison(matches, samples, max_abs, max_rel, int(rows[worst]), worst_output, message, truth, answer)


def unlike(expected: Arrays, got: Arrays, samples: int) -> Comparison | None:
    """The first output that is missing or of another shape."""
    for name, truth in expected.items():
        if name not in got:
            return _unlike(samples, name, f"output {name} is missing; the server sent {', '.join(got) or 'none'}")
        if got[name].shape != truth.shape:
            shapes = f"shape {list(got[name].shape)} instead of {list(truth.shape)}"
            return _unlike(samples, name, f"output {name}: {shapes}")
    return None


def shown(row: np.ndarray[Any, Any]) -> str:
    """The first values of a row, numbers or text."""
    values = row.reshape(-1)
    text = ", ".join(repr(value) if isinstance(value, str) else f"{value:.4g}" for value in values[:10])
    return f"[{text}{', …' if values.size > 10 else ''}]"


def _distinct(positions: np.ndarray[Any, Any], size: int) -> bool:
    ordered = np.sort(positions, axis=-1)
    inside = ordered.min() >= 0 and ordered.max() < size
    return bool(inside and (ordered[..., 1:] != ordered[..., :-1]).all())


def _unlike(samples: int, output: str, message: str) -> Comparison:
    return Comparison(False, samples, float("inf"), float("inf"), 0, output, message)
