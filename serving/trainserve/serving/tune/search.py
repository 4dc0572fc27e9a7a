"""What to measure next, in bounded time. Pure: a generator that yields trials and is sent what each of them gave.

1. Calibrate, on the most promising: how many callers can wait for half the objective, by the median latency.
2. Halve: all candidates under that closed loop; the half with the higher throughput goes on and is measured twice as
   long, until three are left (successive halving: Jamieson & Talwalkar, arXiv:1502.07943). With the callers fixed,
   throughput is callers / mean latency, the figure of a load that noise moves least.
3. Rate: the highest open-loop rate that those three, the defaults and the naive setting hold, by bisection.
4. Confirm: rounds at that rate, one of each candidate after the other, so that what disturbs the machine disturbs all
   alike. Who fails goes down a step and is confirmed anew, while there is time.

Where the objective names the callers, 3 is left out and 4 runs with them. Where it names a rate, the choice is also
measured there.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

from trainserve.serving.tune.choice import choose, judged, rows
from trainserve.serving.tune.trial import Candidate, Load, Measurement, Objective, Stage, Trial

FINALISTS = 3
RECENT = 10
"""Trials whose overhead is expected of the next: early ones load their candidates, later ones find them loaded."""
ROUNDS = 7
"""Of a confirmation; with so many, one may be disturbed and p99 still be bounded with 90 % (latency.upper_median)."""
MOST_CALLERS = 256
STEPS = 5
START = 0.7
"""Share of its closed-loop throughput at which a candidate's rate is first tried."""
STEP_UP, STEP_DOWN = 1.5, 0.85
HALVING, RATE = 0.4, 0.3
"""Shares of the time; the rest is for confirming."""
FIRST = 0.45
"""Share of the time for confirming that its first rounds take; the rest is for going down a step."""
TOLERANCE = 1.5
"""In halving one short window decides nobody's fate: p99 may exceed the objective by this factor."""
REQUESTS = 200
"""That a trial should see; one window of a slow model is as long as these take, within SECONDS."""
LATENCIES = 10
"""How many times as long as a request takes a window is at least."""
SECONDS = (0.3, 5.0)
Search = Generator[Trial, Measurement, None]


@dataclass
class _Clock:
    """What the time was spent on, as the measurements tell it."""

    seconds: float
    spent: float = 0.0
    overheads: list[float] = field(default_factory=list)

    @property
    def overhead(self) -> float:
        """Seconds a trial takes beyond its load."""
        return median(self.overheads[-RECENT:]) if self.overheads else 1.0

    def add(self, measurement: Measurement) -> None:
        self.spent += measurement.cost_s
        self.overheads.append(max(0.0, measurement.cost_s - measurement.trial.load.seconds))

    def fits(self, count: int, each: float, until: float) -> bool:
        """Whether `count` trials of `each` seconds end before the share `until` of the time is spent."""
        return self.spent + count * (each + self.overhead) <= until * self.seconds


def search(
    candidates: Sequence[Candidate], references: Sequence[Candidate], objective: Objective, seconds: float
) -> Search:
    """Trials on `candidates`, the most promising first, and on `references`, within about `seconds`."""
    clock = _Clock(seconds)
    seen: list[Measurement] = []

    def measure(candidate: str, stage: Stage, load: Load) -> Generator[Trial, Measurement, Measurement]:
        measurement = yield Trial(candidate, stage, load)
        clock.add(measurement)
        seen.append(measurement)
        return measurement

    window, callers = SECONDS[0], objective.callers or 1
    while True:
        found = yield from measure(candidates[0].name, "calibrate", Load(window, callers=callers))
        if found.p50_ms is not None:
            window = _window(found, seconds)
        if objective.callers or callers >= MOST_CALLERS:
            break
        if found.p50_ms is None or found.p50_ms > objective.p99_ms / 2:
            callers = max(1, callers // 2)
            break
        callers *= 2

    left = list(candidates[: affordable(len(candidates), window, clock.overhead, HALVING * seconds)])
    length, both = window, [*references]
    while True:
        for candidate in [*left, *both]:
            yield from measure(candidate.name, "halve", Load(length, callers=callers))
        both = []
        left = better_half(left, seen, objective) if len(left) > FINALISTS else left[:]
        left = [each for each in left if _throughput(each, seen) > 0]
        if len(left) <= FINALISTS or not clock.fits(len(left), 2 * length, HALVING):
            break
        length *= 2
    left = sorted(left, key=lambda each: _score(each, seen, objective), reverse=True)[:FINALISTS]
    final = [each for each in (*left, *references) if _throughput(each, seen) > 0]
    if not final:
        return

    loads = {each.name: Load(window, callers=callers) for each in final}
    if not objective.callers:
        brackets = {each.name: Bracket(_throughput(each, seen)) for each in final}
        length = min(10 * window, max(window / 2, SECONDS[0], _share(clock, RATE + HALVING, len(final) * STEPS)))
        for step in range(STEPS):
            if step and not clock.fits(len(final), length, HALVING + RATE):
                break
            for name, bracket in brackets.items():
                found = yield from measure(name, "rate", Load(length, rate=bracket.next))
                brackets[name] = bracket.told(found.sustained(objective.bound_ms))
        loads = {name: Load(window, rate=bracket.best) for name, bracket in brackets.items()}

    asked = 1 if objective.rate else 0
    length = min(20 * window, max(SECONDS[0], _share(clock, 1.0, (len(final) + asked) * ROUNDS) * FIRST))
    pending = {name: _lasting(load, length) for name, load in loads.items()}
    while pending:
        for _ in range(ROUNDS):
            for name, load in pending.items():
                yield from measure(name, "confirm", load)
        pending = {
            name: _lasting(load, length, STEP_DOWN)
            for name, load in pending.items()
            if load.rate is not None and not _confirmed(name, load, seen, objective)
        }
        while pending and not clock.fits((len(pending) + asked) * ROUNDS, length, 1.0):
            pending.popitem()
    best = choose(rows([*candidates, *references], seen, objective))
    if objective.rate and best is not None and best.held is not None and (best.held.load.rate or 0) > objective.rate:
        for _ in range(ROUNDS):
            yield from measure(best.candidate.name, "asked", Load(length, rate=objective.rate))


@dataclass(frozen=True)
class Bracket:
    """Between the highest rate that was held, 0 for none, and the lowest that was not, None for none.

    It begins at a share of a closed loop's `throughput`, which is more where more callers fill larger batches.
    """

    throughput: float
    low: float = 0.0
    high: float | None = None

    @property
    def next(self) -> float:
        """The rate to try next."""
        if self.high is None:
            return self.low * STEP_UP or self.throughput * START
        return (self.low + self.high) / 2

    @property
    def best(self) -> float:
        """The highest rate held, or where none was, the one that would be tried next."""
        return self.low or self.next

    def told(self, held: bool) -> Bracket:
        """The bracket once it is known whether `next` was held."""
        return replace(self, low=self.next) if held else replace(self, high=self.next)


def affordable(count: int, window: float, overhead: float, seconds: float) -> int:
    """How many candidates can be halved down in `seconds`: every rung costs the same, its loads' overhead halves."""
    for number in range(count, FINALISTS, -1):
        rungs = math.ceil(math.log2(number / FINALISTS)) + 1
        if number * (rungs * window + 2 * overhead) <= seconds:
            return number
    return min(count, FINALISTS)


def better_half(left: Sequence[Candidate], seen: Sequence[Measurement], objective: Objective) -> list[Candidate]:
    """The half that goes on, at least FINALISTS, in the order given."""
    ordered = sorted(left, key=lambda each: _score(each, seen, objective), reverse=True)
    kept = {each.name for each in ordered[: max(FINALISTS, (len(left) + 1) // 2)]}
    return [each for each in left if each.name in kept]


def _score(candidate: Candidate, seen: Sequence[Measurement], objective: Objective) -> tuple[bool, float]:
    """Who is near the objective comes first, by throughput; then the others, by how far from it they are."""
    tails = [each.p99_ms for each in _halved(candidate, seen) if each.p99_ms is not None]
    if not tails:
        return (False, -math.inf)
    near = median(tails) <= objective.p99_ms * TOLERANCE
    return (near, _throughput(candidate, seen) if near else -median(tails))


def _throughput(candidate: Candidate, seen: Sequence[Measurement]) -> float:
    rates = [each.rate for each in _halved(candidate, seen) if not each.errors]
    return median(rates) if rates else 0.0


def _halved(candidate: Candidate, seen: Sequence[Measurement]) -> list[Measurement]:
    return [each for each in seen if each.trial.candidate == candidate.name and each.trial.stage == "halve"]


def _confirmed(name: str, load: Load, seen: Sequence[Measurement], objective: Objective) -> bool:
    rounds = [each for each in seen if each.trial == Trial(name, "confirm", load)]
    found = judged(rounds, objective)
    return found is not None and found.holds


def _window(found: Measurement, seconds: float) -> float:
    """Long enough for REQUESTS and for LATENCIES, short enough for forty of them in the time there is."""
    enough = max(REQUESTS / max(found.rate, 1.0), LATENCIES * (found.p50_ms or 0.0) / 1e3)
    return min(max(SECONDS[0], enough), max(SECONDS[0], min(SECONDS[1], seconds / 40)))


def _share(clock: _Clock, until: float, count: int) -> float:
    """Seconds of each of `count` trials, for all of them to end when the share `until` of the time is spent."""
    return (until * clock.seconds - clock.spent) / count - clock.overhead


def _lasting(load: Load, seconds: float, share: float = 1.0) -> Load:
    return Load(seconds, load.callers, None if load.rate is None else load.rate * share)
