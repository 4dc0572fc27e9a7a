"""Accuracy and loss of the exported file on the test split, through onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainserve.models.data.dataset import Dataset, Task
from trainserve.models.gates import Scores
from trainserve.models.graph import Graph
from trainserve.models.session import Session

_BATCH = 64


def score(graph: Graph, session: Session, dataset: Dataset) -> Scores:
    """Scores on the whole test split. Raises UserError naming the operator if a node fails."""
    images, answer = dataset.test_images, graph.signature.names[0]
    parts = [
        session.run(graph.given(images[start : start + _BATCH]), _BATCH)[answer]
        for start in range(0, len(images), _BATCH)
    ]
    return Scores(*measured(np.concatenate(parts), dataset.test_targets, dataset.task))


def measured(answers: NDArray[Any], targets: NDArray[Any], task: Task) -> tuple[float | None, float]:
    """Accuracy and mean cross entropy of probabilities `answers`; in a regression None and mean squared error.

    A row with NaN counts as wrong.
    """
    wide = answers.astype(np.float64)
    if task == "regression":
        return None, float(np.square(wide - targets).mean())
    given_to_truth = wide[np.arange(len(targets)), targets]
    loss = -np.log(np.maximum(given_to_truth, np.finfo(np.float32).tiny)).mean()
    right = (answers.argmax(axis=1) == targets) & ~np.isnan(wide).any(axis=1)
    return float(right.mean()), float(loss)
