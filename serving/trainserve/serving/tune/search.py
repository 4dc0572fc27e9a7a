"""The search for settings, in bounded time. Pure: a generator that yields trials and receives their measurements.

1. Calibrate the most promising candidate: find the number of callers whose median latency is half the objective.
2. Halve: measure all candidates in that closed loop; the half with the higher throughput is measured again, twice as
   long, until two or three are left (successive halving: Jamieson & Talwalkar, arXiv:1502.07943). With fixed callers,
   throughput is callers / mean latency, the quantity that is least affected by noise.
3. Rate: find by bisection the highest open-loop rate at which these, the defaults and the naive settings meet the
   objective.
4. Confirm: run rounds at that rate, one candidate after the other, so that disturbances of the machine affect all
   alike. A candidate that fails is confirmed again at a lower rate, while there is time.

If the objective gives the callers, step 3 is omitted and step 4 uses them. If it gives a rate, the choice is also
measured there.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

from trainserve.serving.tune.choice import ENOUGH, choose, judged, rows
from trainserve.serving.tune.trial import Candidate, Load, Measurement, Objective, Stage, Trial

FINALISTS, FINALISTS_OF_SLOW = 3, 2
SLOW = 100
"""A model is slow if its windows exceed the time divided by this; then there are fewer finalists."""
RECENT = 10
"""Number of recent trials that predict the next one's overhead: early ones include loading their candidates."""
ROUNDS = 7
"""Rounds of a confirmation: with 7, one may be disturbed without changing the 90 % bound (latency.upper_median)."""
MOST_CALLERS = 256
STEPS = 5
START = 0.7
"""First rate to try, as a share of the closed-loop throughput."""
BUSY = 0.7
"""Maximum rate as a share of a server's maximum throughput: above it, each disturbance makes a queue. With 0.8, two of
four choices missed their objective when they were measured again on a shared machine (bench/tune.py)."""
STEP_UP, STEP_DOWN = 1.5, 0.85
HALVING, RATE = 0.4, 0.3
"""Shares of the time for steps 2 and 3; the rest is for confirming."""
FIRST = 0.6
"""Share of the time for confirming that is for the first rounds; the rest is for lower rates."""
TOLERANCE = 1.5
"""Factor by which p99 may exceed the objective in halving, since its windows are short."""
MORE = 1.3
"""Target number of requests as a multiple of ENOUGH, since they arrive at random."""
REQUESTS = 200
"""Target number of requests in one window, whose length stays within SECONDS."""
BATCHING_GAIN = 4
"""Expected speed-up of a batch over its samples one by one."""
OBJECTIVES = 4
"""Minimum duration of an open loop as a multiple of the objective, so that a growing queue is visible."""
LONG = 80
"""Maximum duration of an open loop: the time divided by this."""
LATENCIES = 10
"""Minimum length of a window as a multiple of a request's latency."""
SECONDS = (0.3, 5.0)
Search = Generator[Trial, Measurement, None]


@dataclass
class _Clock:
    """The time spent so far, by the measurements."""

    seconds: float
    spent: float = 0.0
    overheads: list[float] = field(default_factory=list)

    @property
    def overhead(self) -> float:
        """Expected seconds of a trial beyond its load."""
        return median(self.overheads[-RECENT:]) if self.overheads else 1.0

    @property
    def loading(self) -> float:
        """Expected seconds of a trial beyond its load, if its candidate has to be loaded."""
        return max(self.overheads, default=1.0)

    def add(self, measurement: Measurement) -> None:
        self.spent += measurement.cost_s
        self.overheads.append(max(0.0, measurement.cost_s - measurement.trial.load.seconds))

    def fits(self, count: int, each: float, until: float) -> bool:
        """Whether `count` trials of `each` seconds end before the share `until` of the time is spent."""
        return self.spent + count * (each + self.overhead) <= until * self.seconds


def search(
    candidates: Sequence[Candidate], references: Sequence[Candidate], objective: Objective, seconds: float
) -> Search:
    """Yield trials of `candidates`, the most promising first, and of `references`, for about `seconds`."""
    clock = _Clock(seconds)
    seen: list[Measurement] = []

    def measure(candidate: str, stage: Stage, load: Load) -> Generator[Trial, Measurement, Measurement]:
        measurement = yield Trial(candidate, stage, load)
        clock.add(measurement)
        seen.append(measurement)
        return measurement

    window, callers, alone_ms = SECONDS[0], objective.callers or 1, 0.0
    while True:
        found = yield from measure(candidates[0].name, "calibrate", Load(window, callers=callers))
        if found.p50_ms is not None:
            window = _window(found, seconds)
            alone_ms = alone_ms or found.p50_ms
        if objective.callers or callers >= MOST_CALLERS:
            break
        if found.p50_ms is None or found.p50_ms > objective.p99_ms / 2:
            callers = max(1, callers // 2)
            break
        callers *= 2

    ordered = promising(candidates, alone_ms / (objective.callers or 1), objective)
    finalists = FINALISTS if SLOW * window <= seconds else FINALISTS_OF_SLOW
    left = ordered[: affordable(len(ordered), finalists, window, clock.loading, HALVING * seconds)]
    length, both = window, [*references]
    while True:
        for candidate in [*left, *both]:
            yield from measure(candidate.name, "halve", Load(length, callers=callers))
        both = []
        left = better_half(left, finalists, seen, objective) if len(left) > finalists else left[:]
        left = [each for each in left if _throughput(each.name, seen) > 0]
        if len(left) <= finalists or not clock.fits(len(left), 2 * length, HALVING):
            break
        length *= 2
    left = sorted(left, key=lambda each: _score(each, seen, objective), reverse=True)[:finalists]
    final = [each for each in (*left, *references) if _throughput(each.name, seen) > 0]
    if not final:
        return

    long = min(SECONDS[1], max(SECONDS[0], min(OBJECTIVES * objective.p99_ms / 1e3, seconds / LONG)))
    loads = {each.name: Load(window, callers=callers) for each in final}
    if not objective.callers:
        brackets = {each.name: bracket(each, callers, _throughput(each.name, seen)) for each in final}
        length = max(long, min(10 * window, _share(clock, RATE + HALVING, len(final) * STEPS)))
        for step in range(STEPS):
            if step and not clock.fits(len(final), length, HALVING + RATE):
                break
            for name, known in brackets.items():
                found = yield from measure(name, "rate", Load(length, rate=known.next))
                brackets[name] = known.told(found.sustained(objective.bound_ms))
        loads = {name: Load(window, rate=known.best) for name, known in brackets.items()}

    asked = 1 if objective.rate else 0
    share = _share(clock, 1.0, (len(final) + asked) * ROUNDS) * FIRST
    pending = {
        name: replace(
            load, seconds=_confirming(load.rate or _throughput(name, seen), max(long, share), window, seconds)
        )
        for name, load in loads.items()
    }
    length = max(load.seconds for load in pending.values())
    while pending:
        for _ in range(ROUNDS):
            for name, load in pending.items():
                yield from measure(name, "confirm", load)
        failed = {name: load for name, load in pending.items() if not _confirmed(name, load, seen, objective)}
        pending = {
            name: replace(load, rate=min(load.rate, _answered(name, load, seen)) * STEP_DOWN)
            for name, load in failed.items()
            if load.rate is not None and _answered(name, load, seen) > 0
        }
        while pending and not clock.fits((len(pending) + asked) * ROUNDS, length, 1.0):
            pending.popitem()
    best = choose(rows([*candidates, *references], seen, objective))
    if objective.rate and best is not None and best.held is not None and (best.held.load.rate or 0) > objective.rate:
        for _ in range(ROUNDS):
            yield from measure(best.candidate.name, "asked", Load(length, rate=objective.rate))


@dataclass(frozen=True)
class Bracket:
    """The range between the highest rate that met the objective (0: none) and the lowest that did not (None: none).

    It starts at a share of the closed-loop `throughput`.
    """

    throughput: float
    low: float = 0.0
    high: float | None = None
    limit: float = math.inf
    """Maximum rate to try."""

    @property
    def next(self) -> float:
        """The rate to try next."""
        if self.high is None:
            return min(self.limit, self.low * STEP_UP or self.throughput * START)
        return (self.low + self.high) / 2

    @property
    def best(self) -> float:
        """The highest rate that met the objective, or else the rate to try next."""
        return self.low or self.next

    def told(self, held: bool) -> Bracket:
        """Return the bracket after the rate `next` was measured."""
        return replace(self, low=self.next) if held else replace(self, high=self.next)


def bracket(candidate: Candidate, callers: int, throughput: float) -> Bracket:
    """Return the initial bracket of a candidate with `throughput` in a closed loop of `callers`.

    Callers that fill two batches of each instance measure the maximum throughput. In a short window, a higher rate
    would seem to meet the objective, because its queue has only begun to grow.
    """
    settings = candidate.settings
    filled = callers >= 2 * settings.instances * settings.dynamic_batching.max_batch
    return Bracket(throughput, limit=BUSY * throughput if filled else math.inf)


def promising(candidates: Sequence[Candidate], alone_ms: float, objective: Objective) -> list[Candidate]:
    """Sort candidates first whose largest batch may run within the objective; a single request takes `alone_ms`."""

    def too_large(candidate: Candidate) -> bool:
        return candidate.settings.dynamic_batching.max_batch * alone_ms / BATCHING_GAIN > objective.p99_ms

    return sorted(candidates, key=too_large)


def affordable(count: int, finalists: int, window: float, overhead: float, seconds: float) -> int:
    """Return how many candidates can be halved in `seconds`; each rung takes the same time, but half the loading."""
    for number in range(count, finalists, -1):
        rungs = math.ceil(math.log2(number / finalists)) + 1
        if number * (rungs * window + 2 * overhead) <= seconds:
            return number
    return min(count, finalists)


def better_half(
    left: Sequence[Candidate], finalists: int, seen: Sequence[Measurement], objective: Objective
) -> list[Candidate]:
    """Return the better half, but at least `finalists`, in the given order."""
    ordered = sorted(left, key=lambda each: _score(each, seen, objective), reverse=True)
    kept = {each.name for each in ordered[: max(finalists, (len(left) + 1) // 2)]}
    return [each for each in left if each.name in kept]


def _score(candidate: Candidate, seen: Sequence[Measurement], objective: Objective) -> tuple[bool, float]:
    """Rank candidates near the objective first, by throughput; then the others, by their distance from it."""
    tails = [each.p99_ms for each in _halved(candidate.name, seen) if each.p99_ms is not None]
    if not tails:
        return (False, -math.inf)
    near = median(tails) <= objective.p99_ms * TOLERANCE
    return (near, _throughput(candidate.name, seen) if near else -median(tails))


def _throughput(name: str, seen: Sequence[Measurement]) -> float:
    rates = [each.rate for each in _halved(name, seen) if not each.errors]
    return median(rates) if rates else 0.0


def _halved(name: str, seen: Sequence[Measurement]) -> list[Measurement]:
    return [each for each in seen if each.trial.candidate == name and each.trial.stage == "halve"]


def _answered(name: str, load: Load, seen: Sequence[Measurement]) -> float:
    return median(each.rate for each in seen if each.trial == Trial(name, "confirm", load))


def _confirmed(name: str, load: Load, seen: Sequence[Measurement], objective: Objective) -> bool:
    rounds = [each for each in seen if each.trial == Trial(name, "confirm", load)]
    found = judged(rounds, objective)
    return found is not None and found.holds


def _window(found: Measurement, seconds: float) -> float:
    """Return the length of a window: long enough for REQUESTS and LATENCIES, at most a fortieth of the time."""
    enough = max(REQUESTS / max(found.rate, 1.0), LATENCIES * (found.p50_ms or 0.0) / 1e3)
    return min(max(SECONDS[0], enough), max(SECONDS[0], min(SECONDS[1], seconds / 40)))


def _share(clock: _Clock, until: float, count: int) -> float:
    """Return the seconds of each of `count` trials that together end when the share `until` of the time is spent."""
    return (until * clock.seconds - clock.spent) / count - clock.overhead


def _confirming(rate: float, share: float, window: float, seconds: float) -> float:
    """Return the seconds of one round at `rate`: its `share`, but long enough for ENOUGH requests in all rounds."""
    enough = min(MORE * ENOUGH / (ROUNDS * max(rate, 1e-3)), seconds / LONG)
    return min(max(enough, min(share, 20 * window)), max(SECONDS[1], seconds / 40))
