"""Evaluation of measurements: which settings meet the objective, which are chosen, what would be needed. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from trainserve.serving.load.latency import upper_median
from trainserve.serving.tune.trial import Candidate, Load, Measurement, Objective

ALIKE = 0.03
"""Rates that differ by less count as equal; the lower p99 decides."""
ENOUGH = 100
"""Minimum number of requests for a p99; with fewer in a round, the slowest of all rounds is used."""


@dataclass(frozen=True)
class Held:
    """The result of several rounds under one load: medians, and an upper bound of p99.

    `p99_upper_ms` is the 90 % confidence bound of the median p99 (latency.upper_median); for a slow model, the slowest
    of all requests. `holds` says whether the objective is met.
    """

    load: Load
    rate: float
    p50_ms: float
    p99_ms: float
    p99_upper_ms: float
    rounds: int
    holds: bool


@dataclass(frozen=True)
class Row:
    """A candidate in the table: its result in the closed loop of the comparison, and its confirmed result."""

    candidate: Candidate
    closed: Held | None
    held: Held | None
    """The highest load at which it met the objective; if there is none, the lowest at which it failed."""
    measurements: int
    failure: str = ""


@dataclass(frozen=True)
class Needed:
    """Replicas or an objective that would be needed, if one replica does not meet the objective."""

    replicas: int | None
    """Replicas for the requested rate, shared evenly; None if p99 cannot be met at any rate."""
    feasible_p99_ms: float | None
    """An objective that can be met instead, at `at_rate`, with the margin; None if p99 is met."""
    best_p99_ms: float | None
    at_rate: float | None
    candidate: str
    message: str


def judged(rounds: Sequence[Measurement], objective: Objective) -> Held | None:
    """Summarize rounds of one candidate under one load; None if no round was answered."""
    answered = [each for each in rounds if each.p99_ms is not None and each.p50_ms is not None]
    if not answered:
        return None
    tails = [each.p99_ms for each in answered if each.p99_ms is not None]
    few = any(each.requests < ENOUGH for each in answered)
    upper = max(tails) if few else upper_median(tails)
    requests = sum(each.requests for each in rounds)
    steady = [each.steady(objective.bound_ms) for each in rounds]
    return Held(
        load=rounds[0].trial.load,
        rate=median(each.rate for each in answered),
        p50_ms=median(each.p50_ms for each in answered if each.p50_ms is not None),
        p99_ms=median(tails),
        p99_upper_ms=upper,
        rounds=len(rounds),
        holds=upper <= objective.bound_ms
        and 2 * sum(steady) > len(steady)
        and not any(each.errors for each in rounds)
        and requests >= ENOUGH,
    )


def rows(candidates: Sequence[Candidate], measurements: Sequence[Measurement], objective: Objective) -> list[Row]:
    """Return a row for each measured candidate, in the candidates' order."""
    made = []
    for candidate in candidates:
        own = [each for each in measurements if each.trial.candidate == candidate.name]
        if not own:
            continue
        confirmed = [judged(each, objective) for each in _by_load(own, "confirm")]
        known = [each for each in confirmed if each is not None]
        holding = [each for each in known if each.holds]
        held = max(holding, key=lambda each: each.rate) if holding else min(known, key=_offered, default=None)
        halved = [each for each in own if each.trial.stage == "halve"]
        made.append(
            Row(
                candidate=candidate,
                closed=judged(halved, objective) if halved else None,
                held=held,
                measurements=len(own),
                failure=next((each.failure for each in own if each.failure), ""),
            )
        )
    return made


def choose(table: Sequence[Row]) -> Row | None:
    """Choose the row with the highest rate, and of nearly equal rates the lowest p99; None if none meets the objective.

    The naive settings are only for comparison: they refuse requests of more than one sample.
    """
    holding = [row for row in table if row.held is not None and row.held.holds and row.candidate.role != "naive"]
    if not holding:
        return None
    best = max(_rate(row) for row in holding)
    return min((row for row in holding if _rate(row) >= best * (1 - ALIKE)), key=_upper)


def needed(
    table: Sequence[Row], measurements: Sequence[Measurement], objective: Objective, chosen: Row | None
) -> Needed | None:
    """Return what would be needed to meet the objective; None if one replica of the choice meets it."""
    if chosen is not None and chosen.held is not None:
        held = chosen.held.load.rate or chosen.held.rate
        if objective.rate is None or held >= objective.rate:
            return None
        replicas = math.ceil(objective.rate / held)
        message = (
            f"one replica holds p99 {objective.p99_ms:g} ms up to {held:.4g}/s; "
            f"{objective.rate:g}/s needs {replicas} replicas"
        )
        return Needed(replicas, None, chosen.held.p99_ms, held, chosen.candidate.name, message)
    answered = [each for each in measurements if each.p99_ms is not None and not each.errors and not each.unanswered]
    if not answered:
        return Needed(None, None, None, None, "", "no candidate answered; see the failures in the table")
    once = [each for each in answered if each.trial.load.rate and each.sustained(objective.bound_ms)]
    if once:
        best = max(once, key=lambda each: each.trial.load.rate or 0)
        rate = best.trial.load.rate or best.rate
        message = (
            f"p99 {objective.p99_ms:g} ms was held once, at {rate:.4g}/s ({best.trial.candidate}), and not confirmed; "
            "measure longer (--minutes; in a cluster spec.slo.measureSeconds)"
        )
        return Needed(
            math.ceil((objective.rate or rate) / rate), None, best.p99_ms, rate, best.trial.candidate, message
        )
    best = min(answered, key=lambda each: each.p99_ms or math.inf)
    assert best.p99_ms is not None
    feasible = rounded_up(best.p99_ms / (1 - objective.margin))
    message = (
        f"nothing holds p99 {objective.p99_ms:g} ms; the best p99 reached is {best.p99_ms:.3g} ms at {best.rate:.4g}/s "
        f"({best.trial.candidate}): an objective of {feasible:g} ms is feasible"
    )
    return Needed(None, feasible, best.p99_ms, best.rate, best.trial.candidate, message)


def rounded_up(value: float) -> float:
    """Round up to two digits."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.ceil(round(value / unit, 9)) * unit:.6g}")


def _by_load(measurements: Sequence[Measurement], stage: str) -> list[list[Measurement]]:
    found: dict[tuple[int | None, float | None], list[Measurement]] = {}
    for each in measurements:
        if each.trial.stage == stage:
            found.setdefault((each.trial.load.callers, each.trial.load.rate), []).append(each)
    return list(found.values())


def _offered(held: Held) -> float:
    return held.load.rate or held.rate


def _rate(row: Row) -> float:
    return _offered(row.held) if row.held is not None else 0.0


def _upper(row: Row) -> float:
    return row.held.p99_upper_ms if row.held is not None else math.inf
