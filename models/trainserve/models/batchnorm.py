"""Check for parts of a single image: if it is reduced to one pixel, BatchNorm has one value per channel and fails."""

from __future__ import annotations

import torch
from torch import Tensor

from trainserve.models.errors import ConfigError
from trainserve.models.network import Network
from trainserve.models.sampling import Sampling


@torch.no_grad()
def check(network: Network, image: Tensor, sampling: Sampling) -> None:
    """If a step has a part of one image, run `image` (1, H, W, C) through the network in training mode.

    The network is left unchanged. Raises UserError now instead of at the end of the first epoch.
    """
    if all(len(part.samples) > 1 for parts in sampling.steps(epoch=1) for part in parts):
        return
    before = [buffer.clone() for buffer in network.buffers()]
    with torch.random.fork_rng([image.device] if image.is_cuda else []):
        network.train()
        try:
            network.logits(image)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise ConfigError(
                f"trainer.batchSize: {sampling.batch} leaves a part of one image ({sampling.count} samples, "
                f"{sampling.processes} process(es), accumulate {sampling.accumulate}), on which this model's "
                "BatchNorm cannot be trained; must leave two or more, or none"
            ) from error
    for buffer, value in zip(network.buffers(), before, strict=True):
        buffer.copy_(value)
