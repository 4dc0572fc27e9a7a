"""The record of a load: the latency and the result of each request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


class LoadFailed(Exception):
    """The server is unreachable, has gone, or speaks another protocol; the message names its address."""


@dataclass(frozen=True)
class Sample:
    """The results of one load.

    `latencies_s` has the latency of each successful request, and the waiting time of each that got no answer. Requests
    were sent for `seconds`; `finished` were answered in that time, and `waiting` were not.
    """

    latencies_s: np.ndarray[Any, np.dtype[np.float64]]
    seconds: float
    finished: int
    waiting: int
    errors: int = 0
    unanswered: int = 0
    first_error: str = ""
    offered: float | None = None
    """Intended requests per second of an open loop; None for a closed one."""
    lag_s: float = 0.0
    """Median delay of an open loop's sends with a free connection: the load generator's own share of the latency."""

    @property
    def rate(self) -> float:
        """Successful answers per second."""
        return self.finished / self.seconds


class Recorder:
    """Collects the results for a Sample."""

    def __init__(self, begun: float, seconds: float) -> None:
        self.begun, self.end = begun, begun + seconds
        self.latencies: list[float] = []
        self.finished = self.errors = 0
        self.first_error = ""
        self.lags: list[float] = []

    def answered(self, sent: float, now: float) -> None:
        """Record the answer to a request that was, or should have been, sent at `sent`."""
        self.latencies.append(now - sent)
        if now < self.end:
            self.finished += 1

    def failed(self, words: str) -> None:
        """Record a request that was refused, or whose connection broke."""
        self.errors += 1
        self.first_error = self.first_error or words

    def sample(self, waiting: int, unanswered: Sequence[float], offered: float | None = None) -> Sample:
        """Return the Sample; `unanswered` are the waiting times of requests without an answer."""
        return Sample(
            latencies_s=np.array([*self.latencies, *unanswered]),
            seconds=self.end - self.begun,
            finished=self.finished,
            waiting=waiting,
            errors=self.errors,
            unanswered=len(unanswered),
            first_error=self.first_error,
            offered=offered,
            lag_s=float(np.median(self.lags)) if self.lags else 0.0,
        )
