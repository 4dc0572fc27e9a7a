"""Trials and their measurements, which search, choice and rig share."""

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
    """A p99 latency to meet at `rate` requests/s (None: at the highest possible rate), or with `callers`.

    Each caller waits for its answer before it sends the next request.
    """

    p99_ms: float
    rate: float | None = None
    callers: int | None = None
    margin: float = 0.1
    """Share of the objective by which a measured p99 must stay below it."""

    @property
    def bound_ms(self) -> float:
        """Maximum measured p99, in milliseconds."""
        return self.p99_ms * (1 - self.margin)


@dataclass(frozen=True)
class Candidate:
    """Settings under a short name, which is also the model's name in the server."""

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
    """The result of a trial. Latencies are None without an answer; `cost_s` is the total duration of the trial."""

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
    """Why there is no result: the server's message if it refused the settings, or the first error."""

    @classmethod
    def of(cls, trial: Trial, sample: Sample, cost_s: float) -> Measurement:
        """Summarize a load. With fewer than a hundred requests, p99 is the slowest of them."""
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
        """Whether every request was answered, and no queue was growing.

        By Little's law, rate x bound requests are in the system if each takes as long as the bound; if more are waiting
        at the end of an open loop, some of them would exceed it.
        """
        rate = self.trial.load.rate
        growing = rate is not None and self.waiting > 1 + rate * bound_ms / 1e3
        return self.p99_ms is not None and not self.errors and not self.unanswered and not growing

    def sustained(self, bound_ms: float) -> bool:
        """Whether the load was steady, with p99 within `bound_ms`."""
        return self.p99_ms is not None and self.p99_ms <= bound_ms and self.steady(bound_ms)
