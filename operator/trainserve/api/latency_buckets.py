"""Upper bounds of latency histograms: around a service's objective where it has one, else for any CNN.

The operator hands them to a serving pod, whose fetch writes them into Triton's config.pbtxt and whose probe counts in
them, and it tells Prometheus' rules which bucket ends at the objective.
"""

from __future__ import annotations

from collections.abc import Sequence

DEFAULT = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
"""Seconds: 0.5 ms to 2 s."""
_AROUND = (0.125, 0.25, 0.5, 0.75, 0.9, 1.0, 1.25, 1.5, 2.0, 4.0, 8.0, 16.0)
"""Shares of the objective: fine where the objective is missed or held, and the objective itself among them."""


def bounds(objective: float | None) -> tuple[float, ...]:
    """Ascending upper bounds in seconds; `objective`, in seconds, is one of them."""
    if objective is None:
        return DEFAULT
    return tuple(float(f"{objective * share:.6g}") for share in _AROUND)


def written(bound: float) -> Sequence[str]:
    """The ways in which exporters and Prometheus write a bound as the label `le`: 20, and 20.0 from Prometheus 3 on."""
    short = f"{bound:.15g}"
    return (short,) if "." in short or "e" in short else (short, f"{short}.0")
