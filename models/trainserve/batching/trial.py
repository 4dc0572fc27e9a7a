"""Trial whether rows get the same results in a batch as alone: full batch, other order, concurrent callers.

The proof reads the graph; the trial queries what runs the graph, a server or onnxruntime, and so finds what the proof
cannot: a wrong rule, or an operator that the server replaced.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Arrays = Mapping[str, "np.ndarray[Any, Any]"]
Ask = Callable[[Arrays], Arrays]
"""Sends one request; returns its outputs."""
Together = Callable[[Sequence[Arrays]], Sequence[Arrays]]
"""Sends several requests concurrently; returns the outputs of each."""

ROWS = 8
"""Maximum number of different rows that are sent."""
SECONDS = 0.6
"""Approximate duration of a trial; a batch that would take longer is made smaller."""
_LIKELY = 7 / 8
"""Share of integers and strings that must be equal: with nearly equal scores, either of two classes may win."""
_RELATIVE = {"float16": 2e-2, "float32": 1e-3, "float64": 1e-3}
"""Tolerance relative to an output's largest value: a batch is summed in another order than a single row."""


@dataclass(frozen=True)
class Bounds:
    """Additional tolerances, if configured."""

    rtol: float = 0.0
    atol: float = 0.0


def tried(
    rows: Arrays, largest: int, ask: Ask, together: Together, bounds: Bounds = Bounds(), seconds: float = SECONDS
) -> str:
    """Return a description of how rows depend on one another; empty if they do not.

    `rows`: one or more rows of each input; `largest`: size of the full batch; `seconds`: approximate duration. Raises
    the errors of `ask` and `together`.
    """
    begun, alone = time.monotonic(), list[Arrays]()
    for row in range(min(ROWS, len(next(iter(rows.values()))))):
        alone.append(ask(_taken(rows, [row])))
        if len(alone) > 1 and time.monotonic() - begun > seconds / 4:
            break
    count = len(alone)
    if count < 2 or largest < 2:
        return ""
    turned = [*range(min(count, largest))][::-1]
    begun = time.monotonic()
    got = ask(_taken(rows, turned))
    each = (time.monotonic() - begun) / len(turned)  # less than for a single row, which includes the request's cost
    if why := _differs(alone, turned, got, bounds):
        return f"in another order {why}"
    size = max(len(turned), min(largest, int(seconds / max(each, 1e-6))))
    whole = [at % count for at in range(size)]
    if why := _differs(alone, whole, ask(_taken(rows, whole)), bounds):
        return f"in a batch of {size} {why}"
    answers = together([_taken(rows, [row]) for row in range(count)])
    for row, answer in enumerate(answers):
        if why := _differs(alone, [row], answer, bounds):
            return f"among {count} callers {why}"
    return ""


def _taken(rows: Arrays, order: Sequence[int]) -> Arrays:
    return {name: array[list(order)] for name, array in rows.items()}


def _differs(alone: Sequence[Arrays], order: Sequence[int], got: Arrays, bounds: Bounds) -> str:
    """Return which output in `got` differs from those of the rows in `order` sent alone; empty if none does."""
    for name, first in alone[0].items():
        answer = got.get(name)
        expected = [alone[row][name] for row in order]
        if answer is None or answer.shape[:1] != (len(order),) or first.shape[:1] != (1,):
            shape = "missing" if answer is None else f"of shape {list(answer.shape)}"
            return f"output {name} is {shape} for {len(order)} rows, of shape {list(first.shape)} for one row"
        for at, (row, meant) in enumerate(zip(order, expected, strict=True)):
            if meant.shape[1:] != answer.shape[1:]:
                return f"output {name} of row {row} has another shape"
            if not _close(meant[0], answer[at], alone, name, bounds):
                return f"row {row} differs from the same row sent alone: output {name}"
    return ""


def _close(meant: Any, got: Any, alone: Sequence[Arrays], name: str, bounds: Bounds) -> bool:
    meant, got = np.asarray(meant), np.asarray(got)
    if meant.dtype.kind != "f":
        return bool(meant.size == 0 or np.mean(meant == got) >= _LIKELY)
    wide, answered = meant.astype(np.float64), got.astype(np.float64)
    finite = [array[np.isfinite(array)] for each in alone if (array := np.asarray(each[name], np.float64)).size]
    largest = max((float(np.abs(array).max()) for array in finite if array.size), default=0.0)
    slack = bounds.atol + largest * max(_RELATIVE.get(meant.dtype.name, 1e-3), bounds.rtol) + 1e-6
    return bool(np.isclose(answered, wide, rtol=0.0, atol=slack, equal_nan=True).all())
