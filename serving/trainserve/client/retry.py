"""One call of a client: a deadline over all of it, and what is asked again.

Asked again is what surely was not answered:

- a connection that is refused, reset, or closed before the whole answer came: a replica ended or restarts;
- HTTP 503 and 429, gRPC UNAVAILABLE: it says itself that it had no room or is not ready; 502, with which a proxy says
  the former of the connection behind it; CANCELLED, with which a gRPC server that ends breaks off what it runs;
- Triton's refusal of a model that it has but has unloaded: it is ending, too, and does so before it closes its ports.

An inference changes nothing on the server, so that running one twice costs time and nothing else. Never asked again:

- a deadline that passed: whoever waits for the answer has stopped waiting, and a server that is too slow for one
  request is not helped by a second (that is how an overload becomes an outage);
- any other 4xx, INVALID_ARGUMENT and their like: the same request is wrong the second time, too;
- any other 5xx: the server did run it, and failed. A request that makes servers fail must not be carried to all.

For the same reason the number of retries is small: a request that kills the process it reaches kills few. Another
replica is asked at once; after all have been, each further try waits, twice as long as the one before and between half
and all of it by chance, so that clients who failed together do not come back together.
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
"""Seconds."""

T = TypeVar("T")


def pause(round_number: int, chance: float) -> float:
    """Seconds to wait before the replicas are asked again for the `round_number`-th time; `chance` from 0 to 1."""
    return float(min(FIRST_WAIT * 2.0 ** min(round_number, 30), LONGEST_WAIT)) * (0.5 + chance / 2)


class Call:
    """The requests that one call of a client makes, up to its `deadline` (the event loop's time)."""

    def __init__(self, replicas: Replicas, retries: int, deadline: float) -> None:
        self.replicas, self.retries, self.deadline = replicas, retries, deadline
        self._last: Exception | None = None
        self._asked: Replica | None = None

    async def ask(self, request: Callable[[Address, float], Awaitable[T]]) -> T:
        """What `request(address, seconds left)` answers on one of the replicas. Raises RequestFailed."""
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
        """What to raise when the deadline passed."""
        where = f"{self._asked.address}: " if self._asked else ""
        last = f"; before that: {self._last}" if self._last else ""
        return DeadlineExceeded(f"{where}no answer within {timeout:g} s{last}")
