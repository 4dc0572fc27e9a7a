"""The rank of this process, from torchrun's environment variables; without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trainserve.models.errors import UserError


@dataclass(frozen=True)
class Rank:
    """Process `rank` of `size`; in this pod `local` of `local_size`."""

    rank: int = 0
    size: int = 1
    local: int = 0
    local_size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that evaluates, exports, publishes and logs."""
        return self.rank == 0


def of(environment: Mapping[str, str]) -> Rank:
    """The rank from RANK, WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE; a single process if unset. Raises UserError."""
    if "WORLD_SIZE" not in environment:
        return Rank()
    size, rank = _number(environment, "WORLD_SIZE"), _number(environment, "RANK")
    local_size = _number(environment, "LOCAL_WORLD_SIZE", 1)
    local = _number(environment, "LOCAL_RANK", 0)
    if not (0 <= rank < size and 0 <= local < local_size <= size):
        raise UserError(
            f"RANK: {rank} is not allowed; must be less than WORLD_SIZE, {size}, "
            f"and LOCAL_RANK, {local}, less than LOCAL_WORLD_SIZE, {local_size}"
        )
    return Rank(rank, size, local, local_size)


def _number(environment: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = environment.get(name)
    if text is None and default is not None:
        return default
    if text is None or not text.isdecimal():
        raise UserError(f"{name}: {text!r} is not allowed; must be a number, as torchrun sets it")
    return int(text)
