"""Comparison of a server's answers with the recorded outputs for the same samples. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Arrays = Mapping[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Comparison:
    """The result of a comparison. `max_abs` and `max_rel` are the largest differences.

    `worst` and `output` are the sample and the output furthest outside of, or nearest to, the tolerance
    |got - expected| <= atol + rtol * |expected| (numpy.isclose); `expected` and `got` are its rows, None if an output
    is missing or has another shape.
    """

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
    *,
    equal_nan: bool = True,
) -> Comparison:
    """Compare every output of `expected`, whose arrays have one row per answer, with `got`.

    A missing output, another shape or another text is a mismatch. A NaN matches only a NaN (and only if `equal_nan`),
    an infinity only the same infinity. `indexes` maps an output of indices (the labels of the top k) to the output that
    they index: the values there are compared, at twice the tolerance, so that of two nearly equal classes either may
    come first. `rows` are the numbers of the samples, which may repeat; by default 0, 1, 2 ….
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
        difference = differences(truth, answer, equal_nan=equal_nan).reshape(answers, -1)
        if not difference.size:
            worst_output = worst_output or name
            continue
        size = _sizes(truth).reshape(answers, -1)
        relative = np.divide(difference, size, out=np.zeros_like(difference), where=size > atol)
        if name not in indexes:
            max_abs, max_rel = max(max_abs, float(difference.max())), max(max_rel, float(relative.max()))
        excess = (difference - slack * (atol + rtol * size)).max(axis=1)
        if excess.max() > worst_excess:
            worst_excess, worst, worst_output = float(excess.max()), int(excess.argmax()), name
    matches = worst_excess <= 0
    message = f"{samples} sample{'' if samples == 1 else 's'}, max abs difference {max_abs:.2g}"
    truth, answer = np.asarray(expected[worst_output][worst]), np.asarray(got[worst_output][worst])
    if not matches:
        message += (
            f", outside rtol {rtol:g} and atol {atol:g}; worst: sample {rows[worst]}, output {worst_output}, expected "
            f"{shown(truth)}, got {shown(answer)}"
        )
    return Comparison(matches, samples, max_abs, max_rel, int(rows[worst]), worst_output, message, truth, answer)


def unlike(expected: Arrays, got: Arrays, samples: int) -> Comparison | None:
    """Return the mismatch of the first output that is missing or has another shape; None if there is none."""
    for name, truth in expected.items():
        if name not in got:
            return _unlike(samples, name, f"output {name} is missing; the server sent {', '.join(got) or 'none'}")
        if got[name].shape != truth.shape:
            shapes = f"shape {list(got[name].shape)} instead of {list(truth.shape)}"
            return _unlike(samples, name, f"output {name}: {shapes}")
    return None


def differences(
    expected: np.ndarray[Any, Any], got: np.ndarray[Any, Any], *, equal_nan: bool = True
) -> np.ndarray[Any, Any]:
    """Return the absolute differences of two arrays of one shape.

    0 if both are the same text, infinity or (with `equal_nan`) NaN; infinite if only one of them is.
    """
    if expected.dtype.kind in "OSU" or got.dtype.kind in "OSU":
        same = [text(one) == text(other) for one, other in zip(expected.flat, got.flat, strict=True)]
        return np.where(np.array(same, bool).reshape(expected.shape), 0.0, np.inf)
    wide, answered = expected.astype(np.float64), got.astype(np.float64)
    with np.errstate(invalid="ignore"):
        difference = np.abs(answered - wide)
    difference = np.where(answered == wide, 0.0, difference)
    if equal_nan:
        difference = np.where(np.isnan(answered) & np.isnan(wide), 0.0, difference)
    return np.where(np.isnan(difference), np.inf, difference)


def text(value: object) -> str:
    """Decode a text from a server (bytes) or onnxruntime (str)."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _sizes(expected: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if expected.dtype.kind in "OSU":
        return np.zeros(expected.shape)
    sizes: np.ndarray[Any, Any] = np.nan_to_num(np.abs(expected.astype(np.float64)))
    return sizes


def shown(row: np.ndarray[Any, Any]) -> str:
    """Format the first values of a row, numbers or texts."""
    values = row.reshape(-1)
    words = ", ".join(repr(text(value)) if isinstance(value, str | bytes) else f"{value:.4g}" for value in values[:10])
    return f"[{words}{', …' if values.size > 10 else ''}]"


def _distinct(positions: np.ndarray[Any, Any], size: int) -> bool:
    ordered = np.sort(positions, axis=-1)
    inside = ordered.min() >= 0 and ordered.max() < size
    return bool(inside and (ordered[..., 1:] != ordered[..., :-1]).all())


def _unlike(samples: int, output: str, message: str) -> Comparison:
    return Comparison(False, samples, float("inf"), float("inf"), 0, output, message)
