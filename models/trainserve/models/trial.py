"""A trial export of the untrained network, to find what cannot be exported before training instead of after it.

Its time is saved after the training, when the trained weights are filled into its result.

The zoo's own networks are not tried, because tests export them, except in int8, because some have no 8-bit form.
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

from trainserve.api.catalogue import MODELS
from trainserve.models.config import Config
from trainserve.models.data.dataset import Dataset
from trainserve.models.errors import ParityFailed, RunFailed
from trainserve.models.network import Network
from trainserve.models.signature import Signature

if TYPE_CHECKING:
    from trainserve.models.program import Program

_SAMPLES, _BATCHES = 8, (1, 2, 3)
"""Samples of each split, and batch sizes: enough to find a wrong layer, at little cost."""


def needed(config: Config) -> bool:
    """Whether a trial export could find a problem."""
    return config.model.name not in MODELS or config.export.precision == "int8"


def export(network: Network, dataset: Dataset, config: Config, signature: Signature) -> Program | None:
    """Export a copy of `network`, which is on the CPU, without changing it or any random generator.

    Returns the program to be filled with the trained weights, or None, also for a network that cannot be copied. Raises
    UserError and ParityFailed as the export after the training would, the latter only if the layer is found: otherwise
    the untrained weights may be the cause.
    """
    # Not at the top: runs of the zoo's networks only call `needed`.
    from trainserve.models import artifact
    from trainserve.models.graph import Graph

    with _chance(), tempfile.TemporaryDirectory(prefix="trainserve-trial-") as folder:
        try:
            twin = copy.deepcopy(network)
        except Exception:  # e.g. of tensors that are not leaves, or any attribute of a module
            return None
        graph, some = Graph(twin, signature), _some(dataset)
        try:
            # Simplifying the graph costs 2.7 CPU seconds for timm's efficientnet_b0, so it is first tried without; if
            # that fails, the simplified graph decides. int8 needs a simplified graph.
            if config.export.precision != "int8":
                with contextlib.suppress(Exception):
                    return artifact.make(graph, some, config, Path(folder), _BATCHES, optimised=False).program
            return artifact.make(graph, some, config, Path(folder), _BATCHES).program
        except ParityFailed as error:
            if error.layer is not None:
                raise
        except RunFailed:
            raise
        except Exception as error:  # not a finding: if real, it recurs after the training
            traceback.print_exception(error)
    return None


def _some(dataset: Dataset) -> Dataset:
    """The data set with a few samples of each split."""
    return replace(
        dataset,
        train_images=dataset.train_images[:_SAMPLES],
        train_targets=dataset.train_targets[:_SAMPLES],
        test_images=dataset.test_images[:_SAMPLES],
        test_targets=dataset.test_targets[:_SAMPLES],
    )


@contextlib.contextmanager
def _chance() -> Iterator[None]:
    """Inside, random numbers may be drawn; all generators are restored afterwards."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
