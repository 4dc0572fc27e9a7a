"""Training curves: a point for every report of the loop, thinned so that a run of any length leaves few.

Standard library alone: a script's progress is recorded before numpy or torch is imported.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainserve import store

LIMIT = 500
"""Points that are left of a run."""
_DIGITS = 6
"""Significant digits of what is published."""


@dataclass(frozen=True)
class Point:
    """One moment: means over the running epoch so far, validation figures at its end, the rate of the last step.

    `seconds` are of training, over all attempts; `samples_per_second` are since the point before. `step` is None where
    only epochs are told.
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
        """Where in the run: it rises from point to point."""
        return self.epoch if self.step is None else self.step


class Curves:
    """The points of one training."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Another training begins: what was recorded of an earlier one goes."""
        self._points: list[Point] = []
        self._width = 1

    def add(self, point: Point) -> None:
        """Record `point`; what was recorded of the same moment, or of later ones, gives way to it."""
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
        """LIMIT of them at most, evenly over the run, the first and the last one always."""
        return [*self._points]

    @property
    def state(self) -> dict[str, Any]:
        """All of it, for a checkpoint."""
        rows = [[getattr(point, field.name) for field in fields(Point)] for point in self._points]
        return {"width": self._width, "points": rows}

    def load(self, state: Mapping[str, Any] | None) -> None:
        """Go on from what `state` gave; None is of a release that recorded nothing."""
        self.begin()
        if state is not None:
            self._width = state["width"]
            self._points = [Point(*values) for values in state["points"]]

    def published(self) -> store.Curves | None:
        """As the manifest has them; None when nothing was recorded."""
        from trainserve import store

        points = self._points
        if not points:
            return None
        columns = {field.name: [_rounded(getattr(point, field.name)) for point in points] for field in fields(Point)}
        return store.Curves(**{name: values for name, values in columns.items() if values.count(None) < len(values)})


def thinned(points: Sequence[Point], width: int) -> list[Point]:
    """The first one, and the last one of every `width` steps (or epochs), counted from 0. Pure.

    What was thinned by a width can be thinned by twice as much as if all points were still there.
    """
    return [*points[:1], *{point.at // width: point for point in points[1:]}.values()]


def _rounded(value: float | None) -> float | None:
    """None for what is no finite number."""
    if value is None or isinstance(value, int):
        return value
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
