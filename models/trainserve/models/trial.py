"""A trial export of the untrained network: what cannot be exported is found before the first epoch, not after the last.

What it takes is saved after the training, when the trained weights are put into what it has made.

The zoo's own networks are left out: they are exported in the tests, whatever the images. int8 is tried for them as
well, because some have no 8-bit form.
"""

from __future__ import annotations

import contextlib
import copy
import random
import tempfile
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from trainserve.models import zoo
from trainserve.models.config import Config
from trainserve.models.data.dataset import Dataset
from trainserve.models.errors import ParityFailed, RunFailed
from trainserve.models.network import Network
from trainserve.models.signature import Signature

if TYPE_CHECKING:
    from trainserve.models.program import Program

_SAMPLES, _BATCHES = 8, (1, 2, 3)
"""Of each split: enough to tell one layer from another, and little arithmetic."""


def needed(config: Config) -> bool:
    """Whether something could come of it."""
    return config.model.name not in zoo.MODELS or config.export.precision == "int8"


def export(network: Network, dataset: Dataset, config: Config, signature: Signature) -> Program | None:
    """Export a copy of `network`, which is on the CPU; neither it nor chance is changed.

    Gives what is to be filled with the trained weights, None where that cannot be had: a network that cannot be copied
    is not tried. Raises UserError and ParityFailed as the export after the training would: of a difference from PyTorch
    only where a layer is found that makes it, for of untrained weights nothing else is sure.
    """
    # Not at the top: of our own networks' runs only `needed` is asked.
    from trainserve.models import artifact
    from trainserve.models.graph import Graph

    with _chance(), tempfile.TemporaryDirectory(prefix="trainserve-trial-") as folder:
        try:
            twin = copy.deepcopy(network)
        except Exception:  # of tensors that are computed from others, and of whatever else a module holds
            return None
        graph, some = Graph(twin, signature), _some(dataset)
        try:
            # Simplifying the graph costs 2.7 CPU seconds for timm's efficientnet_b0. So it is tried as it is first; if
            # anything goes wrong with it, the simplified graph decides. int8 is made of a simplified graph only.
            if config.export.precision != "int8":
                with contextlib.suppress(Exception):
                    return artifact.make(graph, some, config, Path(folder), _BATCHES, optimised=False).program
            return artifact.make(graph, some, config, Path(folder), _BATCHES).program
        except ParityFailed as error:
            if error.layer is not None:
                raise
        except RunFailed:
            raise
        except Exception as error:  # what is no finding shows again after the training, and is told then
            traceback.print_exception(error)
    return None


def _some(dataset: Dataset) -> Dataset:
    """A few samples of each split."""
    return replace(
        dataset,
        train_images=dataset.train_images[:_SAMPLES],
        train_targets=dataset.train_targets[:_SAMPLES],
        test_images=dataset.test_images[:_SAMPLES],
        test_targets=dataset.test_targets[:_SAMPLES],
    )


@contextlib.contextmanager
def _chance() -> Iterator[None]:
    """Leaves every generator of random numbers as it was."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
