"""Which replica is asked next. Pure: the time is passed in, nothing is sent.

The one with the fewest requests outstanding is asked, of equals each in its turn. One that failed rests, twice as long
each time it fails again; then a single request tries it, and the first answer brings it back. When all rest, all are
asked as if none did: trying is better than refusing (Envoy's panic threshold has the same reason).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from trainserve.client.addresses import Address

FIRST_REST = 0.5
LONGEST_REST = 30.0
"""Seconds."""


@dataclass(eq=False)
class Replica:
    """One server; `failures` are those since its last answer, `turn` when it was last chosen."""

    address: Address
    outstanding: int = 0
    failures: int = 0
    resting_until: float = 0.0
    turn: int = 0

    def usable(self, now: float) -> bool:
        """Whether it may be asked: it did not fail, or its rest is over and nobody is trying it."""
        return not self.failures or (now >= self.resting_until and not self.outstanding)

    def answered(self) -> None:
        """It gave an answer, be it an error."""
        self.failures, self.resting_until = 0, 0.0

    def failed(self, now: float) -> None:
        """It could not be reached, had no room, or let a deadline pass."""
        self.resting_until = now + min(FIRST_REST * 2.0 ** min(self.failures, 30), LONGEST_REST)
        self.failures += 1


class Replicas:
    """All servers of one service."""

    def __init__(self) -> None:
        self._replicas: dict[Address, Replica] = {}
        self._turn = 0

    def __len__(self) -> int:
        """How many there are."""
        return len(self._replicas)

    def update(self, addresses: Iterable[Address]) -> set[Address]:
        """Make `addresses` all there are; what is known of those that stay is kept. Returns those that went."""
        given = dict.fromkeys(addresses)
        gone = self._replicas.keys() - given.keys()
        self._replicas = {address: self._replicas.get(address) or Replica(address) for address in given}
        return gone

    def choose(self, now: float, asked: Collection[Replica] = ()) -> Replica:
        """The one to ask, if possible none of those that this call `asked` before. There must be at least one."""
        everyone = self._replicas.values()
        usable = [each for each in everyone if each.usable(now)]
        fresh = [each for each in usable if each not in asked] or [each for each in everyone if each not in asked]
        chosen = min(fresh or usable or everyone, key=lambda each: (each.outstanding, each.turn))
        self._turn += 1
        chosen.turn = self._turn
        return chosen
