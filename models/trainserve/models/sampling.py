"""Samples and random seeds of each step, a function of the config's seed and the step number only.

A checkpoint therefore needs no order or generator state, and any number of processes sees the same batches.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from trainserve.models.config import Trainer
from trainserve.models.errors import ConfigError
from trainserve.models.rank import Rank


@dataclass(frozen=True)
class Part:
    """A micro-batch: samples of a step that go through the network together.

    `weight` times its mean loss, summed over a process's parts and averaged over processes, is the mean loss of the
    whole batch. It is 0 for the placeholder of a process for which a small last batch has no samples.
    """

    samples: Tensor
    weight: float

    @property
    def counted(self) -> int:
        """Number of samples that this part adds to the epoch."""
        return len(self.samples) if self.weight else 0


@dataclass(frozen=True)
class Sampling:
    """Sampling of `count` samples; `batch`: per step, over all `processes` (this is `rank`) and `accumulate` parts."""

    count: int
    batch: int
    accumulate: int
    seed: int
    rank: int = 0
    processes: int = 1

    @property
    def steps_per_epoch(self) -> int:
        """Steps per epoch, the last of which may be smaller."""
        return math.ceil(self.count / self.batch)

    @property
    def part(self) -> int:
        """Samples per part of a full batch in this process."""
        return math.ceil(math.ceil(self.batch / self.processes) / self.accumulate)

    def steps(self, epoch: int, done: int = 0) -> list[list[Part]]:
        """This process's parts of each step of `epoch` (from 1), after the first `done` steps."""
        generator = torch.Generator().manual_seed(chance(self.seed, "order", epoch))
        order = torch.randperm(self.count, generator=generator)
        return [self._parts(batch) for batch in torch.split(order, self.batch)[done:]]

    def _parts(self, batch: Tensor) -> list[Part]:
        own = batch[self.rank :: self.processes]
        if len(own) == 0:
            return [Part(batch[:1], 0.0)]
        return [Part(part, len(part) / len(batch) * self.processes) for part in torch.split(own, self.part)]


def of(count: int, config: Trainer, rank: Rank) -> Sampling:
    """The sampling of `count` training samples. Raises ConfigError if there are more processes than samples."""
    batch = min(config.batch_size, count)
    if rank.size > count:
        raise ConfigError(f"WORLD_SIZE: {rank.size} processes are not allowed; must be <= the {count} training samples")
    if rank.size > batch:
        raise ConfigError(f"trainer.batchSize: {batch} is not allowed; must be >= the {rank.size} processes of the run")
    return Sampling(count, batch, config.accumulate, config.seed, rank.rank, rank.size)


def chance(seed: int, *purpose: object) -> int:
    """A 63-bit seed for `purpose`, independent of the seeds of other purposes."""
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1
