"""A chart of the measured table: p99 over throughput, with the objective as a line."""

from __future__ import annotations

from trainserve.serving.load.chart import Chart, Series
from trainserve.serving.tune.choice import Row
from trainserve.serving.tune.result import Result, described


def chart(result: Result) -> Chart:
    """Draw every candidate in the closed loop, and the confirmed results."""
    chosen = result.choice
    closed = [row for row in result.table if row.closed is not None]
    callers = next((row.closed.load.callers for row in closed if row.closed), None)
    series = [
        Series(
            f"closed loop, {callers} callers",
            [(row.closed.rate, row.closed.p99_ms) for row in closed if row.closed],
            notes=[row.candidate.name for row in closed],
        )
    ]
    taken = [] if chosen is None else [chosen.candidate]
    held = [row for row in result.table if row.held is not None and row.candidate not in taken]
    for wanted, name in ((False, "does not hold"), (True, "holds (upper bound of p99)")):
        found = [row for row in held if row.held is not None and row.held.holds is wanted]
        if found:
            series.append(Series(name, [_point(row) for row in found], notes=[row.candidate.name for row in found]))
    if chosen is not None:
        name = f"chosen: {described(chosen.candidate.settings)}"
        series.append(Series(name, [_point(chosen)], notes=[chosen.candidate.name], large=True))
    objective = result.objective.p99_ms
    return Chart(
        f"{result.subject.model}: settings and what they hold",
        "requests/s",
        "p99, ms",
        [each for each in series if each.points],
        limit=(objective, f"objective {objective:g} ms"),
    )


def _point(row: Row) -> tuple[float, float]:
    assert row.held is not None
    return row.held.rate, row.held.p99_upper_ms
