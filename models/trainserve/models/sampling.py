"""Which samples make which step, and what chance plays there: all of it follows from the seed and the step's number.

So a checkpoint stores neither an order nor a generator's state, and any number of processes sees the same batches.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from trainserve.models.config import Trainer
from trainserve.models.errors import UserError
from trainserve.models.rank import Rank


@dataclass(frozen=True)
class Part:
    """Samples that go through the network together.

    `weight` times their mean loss, summed over a process's parts and averaged over the processes, is the mean loss of
    the whole batch. It is 0 for the stand-in of a process that a small last batch has no samples for.
    """

    samples: Tensor
    weight: float

    @property
    def counted(self) -> int:
        """How many samples this part adds to the epoch."""
        return len(self.samples) if self.weight else 0


@dataclass(frozen=True)
class Sampling:
    """`batch`: samples in a step, over all `processes` of which this is number `rank`, and all `accumulate` parts."""

    count: int
    batch: int
    accumulate: int
    seed: int
    rank: int = 0
    processes: int = 1

    @property
    def steps_per_epoch(self) -> int:
        """The last step of an epoch may be smaller than the others."""
        return math.ceil(self.count / self.batch)

    @property
    def part(self) -> int:
        """Samples in each of this process's parts of a full batch."""
        return math.ceil(math.ceil(self.batch / self.processes) / self.accumulate)

    def steps(self, epoch: int, done: int = 0) -> list[list[Part]]:
        """This process's parts of each step of `epoch` (from 1), without the first `done` steps."""
        generator = torch.Generator().manual_seed(chance(self.seed, "order", epoch))
        order = torch.randperm(self.count, generator=generator)
        return [self._parts(batch) for batch in torch.split(order, self.batch)[done:]]

    def _parts(self, batch: Tensor) -> list[Part]:
        own = batch[self.rank :: self.processes]
        if len(own) == 0:
            return [Part(batch[:1], 0.0)]
        return [Part(part, len(part) / len(batch) * self.processes) for part in torch.split(own, self.part)]


def of(count: int, config: Trainer, rank: Rank) -> Sampling:
    """Of `count` training samples. Raises UserError when there are more processes than samples."""
    batch = min(config.batch_size, count)
    if rank.size > count:
        raise UserError(f"WORLD_SIZE: {rank.size} processes are not allowed; must be <= the {count} training samples")
    if rank.size > batch:
        raise UserError(f"trainer.batchSize: {batch} is not allowed; must be >= the {rank.size} processes of the run")
    return Sampling(count, batch, config.accumulate, config.seed, rank.rank, rank.size)


def chance(seed: int, *purpose: object) -> int:
    """A seed of 63 bits for one purpose, unrelated to that of any other."""
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1
