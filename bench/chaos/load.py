"""Callers of the ModelServes: their requests, the answers, and whether these are correct.

Each sends one request after another, with a fixed pause after each answer, by the product's own client with its
documented retries (docs/serving.md): a request is lost if the client's call raises an error. An answer is correct if it
matches the outputs that any of the model's published versions recorded for the same input, since either of two versions
may answer during a rollout.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from trainserve import store
from trainserve.client import AsyncClient, Client, ModelInfo
from trainserve.serving.protocol.infer import Arrays
from trainserve.serving.samples.recorded import Recorded

Kind = Literal["HTTP kept", "HTTP new connections", "gRPC kept"]
KINDS: tuple[Kind, ...] = ("HTTP kept", "HTTP new connections", "gRPC kept")
PAUSE = 0.25
"""Seconds between an answer and the next request of the same caller."""
SAMPLES = 32


@dataclass(frozen=True)
class Loss:
    """A lost request: its start and end (monotonic, in seconds), and the error."""

    serve: str
    kind: Kind
    began: float
    ended: float
    why: str


@dataclass
class Count:
    """Counts of one caller: requests, answers and losses."""

    sent: int = 0
    answered: int = 0
    wrong: int = 0
    slowest: float = 0.0
    """Longest latency in seconds of an answered request."""
    losses: list[Loss] = field(default_factory=list)


class Answers:
    """The recorded outputs of a model's versions that have been published so far."""

    def __init__(self, root: Path, namespace: str, model: str) -> None:
        self._root, self._namespace, self._model = root, namespace, model
        self._versions: dict[int, Recorded] = {}
        self._look()

    def _look(self) -> bool:
        """Load new versions; return whether there are any."""
        new = set(store.versions(self._root, self._namespace, self._model)) - set(self._versions)
        for version in new:
            folder = self._root / self._namespace / self._model / str(version)
            self._versions[version] = Recorded.load(folder, SAMPLES)
        return bool(new)

    def sent(self, row: int) -> Arrays:
        """Return the inputs of a sample; they are the same for every version, with one data set and one seed."""
        return self._versions[1].sent(np.asarray([row]))

    def right(self, got: Arrays, row: int) -> bool:
        """Return whether any version recorded the outputs `got` for sample `row`."""
        return self._known(got, row) or (self._look() and self._known(got, row))

    def _known(self, got: Arrays, row: int) -> bool:
        rows = np.asarray([row])
        return any(self._versions[each].compare(got, rows).matches for each in sorted(self._versions, reverse=True))


class Caller:
    """One kind of caller of one ModelServe."""

    def __init__(self, serve: str, kind: Kind, url: str, info: ModelInfo, answers: Answers) -> None:
        self.serve, self.kind, self.url, self.info, self.answers = serve, kind, url, info, answers
        self.count = Count()
        self._chance = random.Random(f"{serve} {kind}")

    async def run(self, over: asyncio.Event) -> None:
        """Send requests until `over` is set."""
        async with AsyncClient(self.url) as client:
            while not over.is_set():
                await self._ask(client)
                await asyncio.sleep(PAUSE)

    async def _ask(self, kept: AsyncClient) -> None:
        row = self._chance.randrange(SAMPLES)
        inputs, began = self.answers.sent(row), time.monotonic()
        self.count.sent += 1
        try:
            if self.kind == "HTTP new connections":
                async with AsyncClient(self.url) as client:
                    got = await client.infer(self.info, inputs)
            else:
                got = await kept.infer(self.info, inputs)
        except Exception as failure:  # any error means that the caller gets no answer
            why = f"{type(failure).__name__}: {failure}"[:300]
            self.count.losses.append(Loss(self.serve, self.kind, began, time.monotonic(), why))
            return
        self.count.slowest = max(self.count.slowest, time.monotonic() - began)
        if self.answers.right(dict(got), row):
            self.count.answered += 1
        else:
            self.count.wrong += 1


def callers(serves: Mapping[str, tuple[str, tuple[int, int]]], root: Path, namespace: str) -> list[Caller]:
    """Return one caller of each kind for each ModelServe.

    `serves` maps a ModelServe's name to the model that it serves and its ports for HTTP and gRPC.
    """
    found = []
    for serve, (model, (http, grpc)) in serves.items():
        answers = Answers(root, namespace, model)
        urls = {
            kind: f"grpc://127.0.0.1:{grpc}" if kind == "gRPC kept" else f"http://127.0.0.1:{http}" for kind in KINDS
        }
        with Client(urls["HTTP kept"]) as client:
            info = client.model(model)
        found += [Caller(serve, kind, url, info, answers) for kind, url in urls.items()]
    return found
