"""Objects of the made-up cluster: namespaces, TrainJobs, ModelServes and their pods, with their lifetimes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from bench.history.clock import DAY, HOUR, Clock

TEAMS = ["audio", "medical", "product", "research", "retail", "street", "vision", "web"]
NAMESPACES = [f"team-{name}" for name in TEAMS]
NETWORKS = ["convnet", "resnet18", "resnet50", "mobilenetv3", "efficientnet", "script"]
REPLICAS = 2
LIFE = 2.3 * DAY
"""Mean time between two rollouts of a ModelServe."""
FAILED = 0.06
"""Share of the TrainJobs that fail."""


@dataclass(frozen=True)
class Job:
    """One TrainJob; times are Unix seconds."""

    number: int
    namespace: str
    created: float
    began: float
    ended: float
    gpus: int
    succeeds: bool

    @property
    def name(self) -> str:
        """The TrainJob's name."""
        return f"train-{self.number:04}"

    @property
    def model(self) -> str:
        """The model that it publishes as; a few jobs share one."""
        return f"model-{self.number % 200:03}"

    @property
    def network(self) -> str:
        """Return the name of the network that it trains."""
        return NETWORKS[self.number % len(NETWORKS)]

    @property
    def version(self) -> int:
        """Return the number of the version that it publishes."""
        return self.number // 200 + 1

    @property
    def pod(self) -> str:
        """The pod of rank 0."""
        return f"{self.name}-1-0"


@dataclass(frozen=True)
class Release:
    """The pods of one version of a ModelServe; times are Unix seconds."""

    version: int
    began: float
    ended: float
    digest: str

    def pods(self, serve: str) -> list[str]:
        """Return the names of the pods."""
        return [f"{serve}-{self.digest[:10]}-{self.digest[10 + 5 * at :][:5]}" for at in range(REPLICAS)]


@dataclass(frozen=True)
class Serve:
    """One ModelServe."""

    number: int
    namespace: str
    releases: Sequence[Release]

    @property
    def name(self) -> str:
        """The ModelServe's name."""
        return f"classifier-{self.number:02}"

    @property
    def model(self) -> str:
        """The model that it serves, and its name in Triton."""
        return f"model-{self.number:03}"

    @property
    def objective(self) -> float | None:
        """The p99 in seconds that it asks for; two of three have one."""
        return None if self.number % 3 == 0 else [0.02, 0.05, 0.1][self.number % 5 % 3]


def jobs(clock: Clock, number: int) -> list[Job]:
    """TrainJobs created all over the time, those of the last hours still running or waiting."""
    random = np.random.default_rng(1)
    created = np.sort(random.uniform(clock.start, clock.end, number))
    waited = random.exponential(240, number)
    lasted = random.uniform(HOUR, 3 * HOUR, number)
    gpus = random.choice([1, 1, 1, 2, 4, 8], number)
    succeeds = random.random(number) > FAILED
    return [
        Job(at, NAMESPACES[at % len(NAMESPACES)], made, made + wait, made + wait + last, int(gpu), bool(good))
        for at, (made, wait, last, gpu, good) in enumerate(zip(created, waited, lasted, gpus, succeeds, strict=True))
    ]


def serves(clock: Clock, number: int) -> list[Serve]:
    """ModelServes that are there all the time, with a rollout every few days."""
    return [Serve(at, NAMESPACES[at % len(NAMESPACES)], _releases(clock, at)) for at in range(number)]


def _releases(clock: Clock, serve: int) -> list[Release]:
    random = np.random.default_rng([2, serve])
    edges = [float(clock.start)]
    while (after := edges[-1] + float(random.exponential(LIFE)) + HOUR) < clock.end - HOUR:
        edges.append(after)
    edges.append(float(clock.end))
    return [
        Release(at + 1, first, past, "".join(random.choice(list("0123456789abcdef"), 24)))
        for at, (first, past) in enumerate(pairwise(edges))
    ]
