"""The scrapes of the last minute, by server, and the rates and percentiles from them. No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from trainserve.cli.top import figures
from trainserve.cli.top.figures import P99, Histogram, Served

RATE_SECONDS = 10.0
LATENCY_SECONDS = 60.0
"""Windows over which requests/s and p99 are computed."""


@dataclass(frozen=True)
class Scrape:
    """Figures of a server and its probe at one time (monotonic); None for one that did not answer."""

    at: float
    served: Served | None
    probed: Histogram | None


class History:
    """The scrapes of each pod, by its uid."""

    def __init__(self) -> None:
        self._scrapes: dict[str, deque[Scrape]] = {}

    def __bool__(self) -> bool:
        """Whether there is a scrape, so that the next one gives a rate."""
        return bool(self._scrapes)

    def add(self, uid: str, scrape: Scrape) -> None:
        """Keep `scrape`, and drop those of the pod that are older than LATENCY_SECONDS."""
        scrapes = self._scrapes.setdefault(uid, deque())
        scrapes.append(scrape)
        while scrapes[0].at < scrape.at - LATENCY_SECONDS:
            scrapes.popleft()

    def keep(self, uids: Iterable[str]) -> None:
        """Drop all pods but `uids`: the others are gone."""
        for gone in set(self._scrapes).difference(uids):
            del self._scrapes[gone]

    def figures(self, uids: Iterable[str]) -> tuple[float | None, P99 | None]:
        """Requests per second and p99 of these pods together."""
        known = [list(self._scrapes.get(uid, ())) for uid in uids]
        rates = [found for scrapes in known if (found := _rate(scrapes)) is not None]
        servers = _grown([each.served.latency if each.served else None for each in scrapes] for scrapes in known)
        probes = _grown([each.probed for each in scrapes] for scrapes in known)
        return sum(rates) if rates else None, figures.p99(servers, "server") or figures.p99(probes, "probe")


def _rate(scrapes: list[Scrape]) -> float | None:
    counts = [(each.at, each.served.requests) for each in scrapes if each.served is not None]
    return figures.rate([(at, count) for at, count in counts if at >= counts[-1][0] - RATE_SECONDS])


def _grown(pods: Iterable[list[Histogram | None]]) -> Histogram | None:
    """The observations of all pods together, over their scrapes."""
    grown = [figures.grown([each for each in histograms if each is not None]) for histograms in pods]
    return figures.pooled([each for each in grown if each is not None])
