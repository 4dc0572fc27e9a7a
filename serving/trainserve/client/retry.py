"""One call of a client: the deadline of the whole call, and the retries of its requests.

A request is retried if it certainly was not answered:

- the connection was refused, reset, or closed before the whole response arrived: the replica ended or restarts;
- HTTP 503 and 429, gRPC UNAVAILABLE: the server has no capacity or is not ready; HTTP 502: a proxy lost or did not get
  its connection to the server; gRPC CANCELLED: a server that shuts down cancels the requests that it runs;
- Triton refuses a model that it has unloaded: it is shutting down, and unloads models before it closes its ports.

An inference changes nothing on the server, so that running it twice costs only time. A request is never retried after:

- its deadline: the caller no longer waits, and a server that is too slow for one request is not helped by a second
  (that is how an overload becomes an outage);
- any other 4xx, INVALID_ARGUMENT and the like: the same request would be refused again;
- any other 5xx: the server ran the request, and failed. A request that makes servers fail must not be sent to all.

For the same reason the number of retries is small: a request that kills its server kills few. A retry goes to another
replica at once. When all replicas have been tried, a round of retries waits: twice as long as the round before, less a
random part of up to half, so that clients that failed together do not come back together.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from trainserve.client.addresses import Address
from trainserve.client.errors import DeadlineExceeded, RequestFailed, Unavailable
from trainserve.client.replicas import Replica, Replicas

FIRST_WAIT = 0.1
LONGEST_WAIT = 2.0
"""Seconds to wait before the first round of retries, and at most."""

T = TypeVar("T")


def pause(round_number: int, chance: float) -> float:
    """Return the seconds to wait before round `round_number` (from 0) of retries; `chance` is random from 0 to 1."""
    return float(min(FIRST_WAIT * 2.0 ** min(round_number, 30), LONGEST_WAIT)) * (0.5 + chance / 2)


class Call:
    """The requests that one call of a client makes, up to its `deadline` (the event loop's time)."""

    def __init__(self, replicas: Replicas, retries: int, deadline: float) -> None:
        self.replicas, self.retries, self.deadline = replicas, retries, deadline
        self._last: Exception | None = None
        self._asked: Replica | None = None

    async def ask(self, request: Callable[[Address, float], Awaitable[T]]) -> T:
        """Send `request(address, seconds left)` to replicas until one answers. Raises RequestFailed."""
        loop = asyncio.get_running_loop()
        asked: list[Replica] = []
        rounds = 0
        for attempt in itertools.count():
            try:
                return await self._once(request, asked)
            except Unavailable as failure:
                self._last = failure
                everyone = len(asked) >= len(self.replicas)
                wait = max(pause(rounds, random.random()), failure.retry_after) if everyone else 0.0  # noqa: S311
                if attempt == self.retries or loop.time() + wait >= self.deadline:
                    raise
                if everyone:
                    rounds += 1
                    asked.clear()
                    await asyncio.sleep(wait)
        raise AssertionError("unreachable")

    async def _once(self, request: Callable[[Address, float], Awaitable[T]], asked: list[Replica]) -> T:
        loop = asyncio.get_running_loop()
        replica = self._asked = self.replicas.choose(loop.time(), asked)
        asked.append(replica)
        replica.outstanding += 1
        try:
            answer = await request(replica.address, self.deadline - loop.time())
        except Unavailable:
            replica.failed(loop.time())
            raise
        except asyncio.CancelledError:
            if loop.time() >= self.deadline:
                replica.failed(loop.time())
            raise
        except RequestFailed:
            replica.answered()
            raise
        finally:
            replica.outstanding -= 1
        replica.answered()
        return answer

    def late(self, timeout: float) -> DeadlineExceeded:
        """Return the error to raise after the deadline, which was `timeout` seconds."""
        where = f"{self._asked.address}: " if self._asked else ""
        last = f"; before that: {self._last}" if self._last else ""
        return DeadlineExceeded(f"{where}no answer within {timeout:g} s{last}")
