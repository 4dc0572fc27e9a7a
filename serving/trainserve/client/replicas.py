"""Choice of the replica for the next request. Pure: the time is passed in, nothing is sent.

The replica with the fewest outstanding requests is chosen; ties are resolved round-robin. A replica that failed rests,
twice as long after each further failure; then a single request tries it, and the first answer brings it back. When all
replicas rest, they are chosen as if none did: trying is better than refusing, as with Envoy's panic threshold.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from trainserve.client.addresses import Address

FIRST_REST = 0.5
LONGEST_REST = 30.0
"""Seconds that a replica rests after its first failure, and at most."""


@dataclass(eq=False)
class Replica:
    """One server; `failures` counts those since its last answer, `turn` says when it was last chosen."""

    address: Address
    outstanding: int = 0
    failures: int = 0
    resting_until: float = 0.0
    turn: int = 0

    def usable(self, now: float) -> bool:
        """Return whether it may be chosen: it did not fail, or its rest is over and no request is trying it."""
        return not self.failures or (now >= self.resting_until and not self.outstanding)

    def answered(self) -> None:
        """Record an answer by the server, which may be an error."""
        self.failures, self.resting_until = 0, 0.0

    def failed(self, now: float) -> None:
        """Record that it was not reachable, had no capacity, or exceeded a deadline."""
        self.resting_until = now + min(FIRST_REST * 2.0 ** min(self.failures, 30), LONGEST_REST)
        self.failures += 1


class Replicas:
    """The replicas of one service."""

    def __init__(self) -> None:
        self._replicas: dict[Address, Replica] = {}
        self._turn = 0

    def __len__(self) -> int:
        """Number of replicas."""
        return len(self._replicas)

    def update(self, addresses: Iterable[Address]) -> set[Address]:
        """Replace the replicas by `addresses`, but keep the state of those that stay. Returns the removed ones."""
        given = dict.fromkeys(addresses)
        gone = self._replicas.keys() - given.keys()
        self._replicas = {address: self._replicas.get(address) or Replica(address) for address in given}
        return gone

    def choose(self, now: float, asked: Collection[Replica] = ()) -> Replica:
        """Choose a replica, if possible one that this call has not `asked` before. There must be at least one."""
        everyone = self._replicas.values()
        usable = [each for each in everyone if each.usable(now)]
        fresh = [each for each in usable if each not in asked] or [each for each in everyone if each not in asked]
        chosen = min(fresh or usable or everyone, key=lambda each: (each.outstanding, each.turn))
        self._turn += 1
        chosen.turn = self._turn
        return chosen
