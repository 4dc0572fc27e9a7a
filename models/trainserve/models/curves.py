"""Training curves: a point for every report of the loop, thinned to a bounded number.

Needs the standard library only: a script's progress is recorded before numpy or torch is imported.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainserve import store

LIMIT = 500
"""Most points of a run."""
_DIGITS = 6
"""Significant digits of published values."""


@dataclass(frozen=True)
class Point:
    """One point: means over the current epoch so far, validation metrics at its end, learning rate of the last step.

    `seconds`: of training, over all attempts; `samples_per_second`: since the previous point; `step`: None if only
    epochs are reported.
    """

    epoch: int
    step: int | None
    seconds: float
    loss: float | None = None
    accuracy: float | None = None
    validation_loss: float | None = None
    validation_accuracy: float | None = None
    learning_rate: float | None = None
    samples_per_second: float | None = None

    @property
    def at(self) -> int:
        """Position in the run, strictly increasing: the step, else the epoch."""
        return self.epoch if self.step is None else self.step


class Curves:
    """The points of one training."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Start a new training and forget the points of an earlier one."""
        self._points: list[Point] = []
        self._width = 1

    def add(self, point: Point) -> None:
        """Record `point` in place of all points at the same position or later."""
        while self._points and self._points[-1].at >= point.at:
            self._points.pop()
        if len(self._points) > 1 and self._points[-1].at // self._width == point.at // self._width:
            self._points.pop()
        self._points.append(point)
        while len(self._points) > LIMIT:
            self._width *= 2
            self._points = thinned(self._points, self._width)

    @property
    def points(self) -> list[Point]:
        """At most LIMIT points, evenly over the run, always with the first and the last."""
        return [*self._points]

    @property
    def state(self) -> dict[str, Any]:
        """The state for a checkpoint."""
        rows = [[getattr(point, field.name) for field in fields(Point)] for point in self._points]
        return {"width": self._width, "points": rows}

    def load(self, state: Mapping[str, Any] | None) -> None:
        """Restore `state`; None comes from a release without curves."""
        self.begin()
        if state is not None:
            self._width = state["width"]
            self._points = [Point(*values) for values in state["points"]]

    def published(self) -> store.Curves | None:
        """The curves for the manifest; None if nothing was recorded."""
        from trainserve import store

        points = self._points
        if not points:
            return None
        columns = {field.name: [_rounded(getattr(point, field.name)) for point in points] for field in fields(Point)}
        return store.Curves(**{name: values for name, values in columns.items() if values.count(None) < len(values)})


def thinned(points: Sequence[Point], width: int) -> list[Point]:
    """The first point, and the last point in every `width` steps (or epochs), counted from 0. Pure.

    Thinning by a width and then by twice that width equals thinning by the latter.
    """
    return [*points[:1], *{point.at // width: point for point in points[1:]}.values()]


def _rounded(value: float | None) -> float | None:
    """`value` with _DIGITS significant digits; None if it is not finite."""
    if value is None or isinstance(value, int):
        return value
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
