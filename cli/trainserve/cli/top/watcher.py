"""Snapshots of a cluster: its objects, and the figures of their pods."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar
from urllib.parse import quote

from trainserve.api.pod import Port
from trainserve.cli.top import figures, pods, rows
from trainserve.cli.top.cluster import Api, Denied, Unanswered
from trainserve.cli.top.history import History, Scrape
from trainserve.cli.top.pods import Endpoint, Object
from trainserve.cli.top.rows import Serving, Training, clean
from trainserve.client import RequestFailed

AT_ONCE = 16
"""Maximum number of concurrent requests to pods."""
ASKING_SECONDS = 6.0
"""Time limit for all pods together; one that has not answered by then has no figures in the snapshot."""
_KINDS = "/apis/trainserve.io/v1alpha1"

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True)
class Snapshot:
    """The state of the cluster at one moment."""

    context: str
    namespace: str | None
    """None for all namespaces."""
    at: datetime
    trainings: Sequence[Training]
    servings: Sequence[Serving]
    notes: Sequence[str] = ()


@dataclass
class _Answers:
    """Answers of pods, each with its time, and the reasons why others did not answer."""

    said: dict[Endpoint, tuple[float, bytes]] = field(default_factory=dict)
    silent: dict[Endpoint, Unanswered] = field(default_factory=dict)

    def read(self, asked: Mapping[K, Endpoint], reader: Callable[[bytes], V]) -> dict[K, V]:
        """Parse answers with `reader`; a pod whose answer cannot be parsed counts as one that did not answer."""
        found = {}
        for key, endpoint in asked.items():
            if endpoint in self.said:
                try:
                    found[key] = reader(self.said[endpoint][1])
                except Exception:  # parsers raise anything on bad input: one pod has no figures then
                    self.silent[endpoint] = Unanswered("the answer cannot be parsed")
        return found


class Watcher:
    """Takes snapshots, and keeps the scrapes of the last minute, from which rates and percentiles are computed."""

    def __init__(self, api: Api, namespace: str | None) -> None:
        self._api, self._namespace = api, namespace
        self._history = History()
        self._silent: set[Endpoint] = set()

    @property
    def counting(self) -> bool:
        """Whether the next snapshot has rates."""
        return bool(self._history)

    async def look(self) -> Snapshot:
        """Take a snapshot. Raises RequestFailed if neither TrainJobs nor ModelServes can be listed."""
        jobs, serves, known = await asyncio.gather(
            self._list(_KINDS, "trainjobs"),
            self._list(_KINDS, "modelserves"),
            self._list("/api/v1", "pods", labelSelector=pods.MANAGED, fieldSelector="status.phase=Running"),
        )
        if jobs.refused and serves.refused:
            raise jobs.refused
        refused = [str(each.refused) for each in (jobs, serves, known) if each.refused]

        runs = {key: pods.endpoint(pod, Port.PROGRESS) for key, pod in pods.training(jobs.items, known.items).items()}
        servers = pods.serving(serves.items, known.items)
        metrics, probes = (
            {pods.uid(pod): pods.endpoint(pod, port) for each in servers.values() for pod in each}
            for port in (Port.METRICS, Port.PROBE)
        )
        answers = await self._ask(runs.values(), [*metrics.values(), *probes.values()])
        progress = answers.read(runs, figures.progress)
        served, probed = answers.read(metrics, figures.served), answers.read(probes, figures.probed)
        self._silent = set(answers.silent)
        self._history.keep(metrics)
        for uid in served.keys() | probed.keys():
            at, _ = answers.said[metrics[uid] if uid in served else probes[uid]]
            self._history.add(uid, Scrape(at, served.get(uid), probed.get(uid)))

        now = datetime.now(UTC)
        return Snapshot(
            self._api.context,
            self._namespace,
            now,
            [rows.training(job, progress.get(pods.key(job)), now) for job in jobs.items],
            [
                rows.serving(serve, *self._history.figures(map(pods.uid, servers[pods.key(serve)])), now)
                for serve in serves.items
            ],
            refused + notes(answers.silent),
        )

    async def _list(self, api: str, plural: str, **query: str) -> _Listed:
        scope = "" if self._namespace is None else f"namespaces/{quote(self._namespace, '')}/"
        try:
            return _Listed(await self._api.items(f"{api}/{scope}{plural}", **query))
        except RequestFailed as error:
            return _Listed([], error)

    async def _ask(self, runs: Iterable[Endpoint], servers: Iterable[Endpoint]) -> _Answers:
        paths = dict.fromkeys(runs, "/progress") | dict.fromkeys(servers, "/metrics")
        answers, free = _Answers(), asyncio.Semaphore(AT_ONCE)

        async def ask(endpoint: Endpoint) -> None:
            async with free:
                try:
                    body = await self._api.ask(endpoint, paths[endpoint])
                    answers.said[endpoint] = time.monotonic(), body
                except Unanswered as error:
                    answers.silent[endpoint] = error

        # Pods that did not answer the last time are asked after all others.
        order = sorted(paths, key=lambda endpoint: endpoint in self._silent)
        tasks = {asyncio.create_task(ask(endpoint)): endpoint for endpoint in order}
        try:
            late = (await asyncio.wait(tasks, timeout=ASKING_SECONDS))[1] if tasks else set()
        finally:
            for task in tasks:
                task.cancel()
        answers.silent.update(
            {tasks[task]: Unanswered("no answer in time: too many other pods did not answer") for task in late}
        )
        return answers


@dataclass(frozen=True)
class _Listed:
    """Objects of one kind, or the reason why they cannot be listed."""

    items: Sequence[Object]
    refused: RequestFailed | None = None


def notes(silent: Mapping[Endpoint, Unanswered]) -> list[str]:
    """One line about a missing permission, and one about all pods without figures."""
    denied = sorted({each.namespace for each, error in silent.items() if isinstance(error, Denied)})
    failed = {each: str(error) for each, error in silent.items() if not isinstance(error, Denied)}
    found = []
    if denied:
        where = f"namespace {denied[0]}" if len(denied) == 1 else f"{len(denied)} namespaces"
        found.append(f"no permission to get pods/proxy in {clean(where)}: figures from the pods are missing")
    if failed:
        first, count = min(failed), len({(each.namespace, each.pod) for each in failed})
        others = f" (and {count - 1} more pods)" if count > 1 else ""
        found.append(f"no figures from {clean(first.pod)}:{first.port}{others}: {clean(failed[first])}")
    return found
