"""The record of a load: what every request of it took, and how it ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


class LoadFailed(Exception):
    """The server is not there, went away, or speaks something else; the message names its address."""


@dataclass(frozen=True)
class Sample:
    """What one load saw.

    `latencies_s` has one value for every request that was answered with success, and for those that were not
    answered in the end the time they had waited by then. `seconds` is the time in which requests were sent, `finished`
    how many were answered within it, `waiting` how many were not at its end.
    """

    latencies_s: np.ndarray[Any, np.dtype[np.float64]]
    seconds: float
    finished: int
    waiting: int
    errors: int = 0
    unanswered: int = 0
    first_error: str = ""
    offered: float | None = None
    """Requests per second that an open loop meant to send; None of a closed one."""
    lag_s: float = 0.0
    """Median delay of an open loop's sends for which a connection was free: the load generator's own part."""

    @property
    def rate(self) -> float:
        """Answers with success per second."""
        return self.finished / self.seconds


class Recorder:
    """Collects what becomes a Sample."""

    def __init__(self, begun: float, seconds: float) -> None:
        self.begun, self.end = begun, begun + seconds
        self.latencies: list[float] = []
        self.finished = self.errors = 0
        self.first_error = ""
        self.lags: list[float] = []

    def answered(self, sent: float, now: float) -> None:
        """A request that was (meant to be) sent at `sent` has its answer."""
        self.latencies.append(now - sent)
        if now < self.end:
            self.finished += 1

    def failed(self, words: str) -> None:
        """A request was refused, or its connection broke."""
        self.errors += 1
        self.first_error = self.first_error or words

    def sample(self, waiting: int, unanswered: Sequence[float], offered: float | None = None) -> Sample:
        """`unanswered`: how long those waited that were given up."""
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
