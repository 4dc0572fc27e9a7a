"""What is measured, and what was: the words that search, choice and rig share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trainserve.serving.load.latency import summary
from trainserve.serving.load.record import Sample
from trainserve.serving.repository.settings import Settings

Role = Literal["candidate", "defaults", "naive"]
Stage = Literal["calibrate", "halve", "rate", "confirm", "asked"]


@dataclass(frozen=True)
class Objective:
    """`p99_ms` is to be held at `rate` requests/s (None: at the highest rate that it can be held at), or with
    `callers` callers that each wait for their answer."""

    p99_ms: float
    rate: float | None = None
    callers: int | None = None
    margin: float = 0.1
    """How far below the objective p99 must stay to be said to hold it, as a share of it."""

    @property
    def bound_ms(self) -> float:
        """What a measured p99 must not exceed."""
        return self.p99_ms * (1 - self.margin)


@dataclass(frozen=True)
class Candidate:
    """Settings under a short name that is also the model's in the server."""

    name: str
    settings: Settings
    role: Role = "candidate"


@dataclass(frozen=True)
class Load:
    """Either `callers` in a closed loop, or `rate` requests per second in an open one, for `seconds`."""

    seconds: float
    callers: int | None = None
    rate: float | None = None


@dataclass(frozen=True)
class Trial:
    """One load on one candidate."""

    candidate: str
    stage: Stage
    load: Load


@dataclass(frozen=True)
class Measurement:
    """What a trial gave. Latencies are None where there was no answer; `cost_s` is the time the trial took in all."""

    trial: Trial
    rate: float = 0.0
    p50_ms: float | None = None
    p99_ms: float | None = None
    requests: int = 0
    errors: int = 0
    waiting: int = 0
    unanswered: int = 0
    cost_s: float = 0.0
    failure: str = ""
    """Why there is no figure: the server's words when it refused to load the settings, or a first error."""

    @classmethod
    def of(cls, trial: Trial, sample: Sample, cost_s: float) -> Measurement:
        """Of a load. Where fewer than a hundred requests were seen, p99 is the slowest of them."""
        told = summary(sample)
        return cls(
            trial=trial,
            rate=told.rate,
            p50_ms=told.p50_ms if told.p50_ms is not None else told.max_ms,
            p99_ms=told.p99_ms if told.p99_ms is not None else told.max_ms,
            requests=told.requests,
            errors=told.errors,
            waiting=told.waiting,
            unanswered=told.unanswered,
            cost_s=cost_s,
            failure=told.first_error,
        )

    def steady(self, bound_ms: float) -> bool:
        """Whether every request was answered, and no line was growing.

        By Little's law rate x bound requests are in the system when each takes as long as the bound; more than these
        at the end of an open loop would have been late, whoever was answered so far.
        """
        rate = self.trial.load.rate
        growing = rate is not None and self.waiting > 1 + rate * bound_ms / 1e3
        return self.p99_ms is not None and not self.errors and not self.unanswered and not growing

    def sustained(self, bound_ms: float) -> bool:
        """Whether it was steady with p99 within `bound_ms`."""
        return self.p99_ms is not None and self.p99_ms <= bound_ms and self.steady(bound_ms)
