"""The signature of the exported graph: names, types and shapes of input and outputs, known before training."""

from __future__ import annotations

from dataclasses import dataclass

from trainserve import store
from trainserve.models.config import Export
from trainserve.models.data.dataset import Dataset, Task
from trainserve.models.errors import ConfigError

PROBABILITIES, VALUES, TOP_PROBABILITIES, TOP_LABELS = "probabilities", "values", "top_probabilities", "top_labels"


@dataclass(frozen=True)
class Signature:
    """`input` is named by `export.input`: images (N, H, W, C) as in the data set, or tensor (N, C, H, W) float32.

    The first of `outputs` is the full one, (N, K); -1 is the batch axis.
    """

    input: store.Tensor
    outputs: list[store.Tensor]
    top_k: int | None = None

    @property
    def names(self) -> list[str]:
        """Names of the outputs, in the graph's order."""
        return [output.name for output in self.outputs]

    @property
    def takes_images(self) -> bool:
        """Whether the graph takes images and normalises them; else the client does."""
        return self.input.name == "images"


def signature(config: Export, dataset: Dataset) -> Signature:
    """The signature for `config` and `dataset`. Raises ConfigError if export.topK does not fit task or classes."""
    height, width, channels = dataset.shape
    if config.input == "images":
        given = store.Tensor(name="images", dtype=str(dataset.train_images.dtype), shape=[-1, height, width, channels])
    else:
        given = store.Tensor(name="tensor", dtype="float32", shape=[-1, channels, height, width])
    return answering(given, config, len(dataset.labels), dataset.task)


def answering(given: store.Tensor, config: Export, count: int, task: Task) -> Signature:
    """The signature with input `given` of a network of `count`. Raises ConfigError as `signature`."""
    top_k = config.top_k
    if task == "regression":
        if top_k is not None:
            raise ConfigError(f"export.topK: {top_k} is not allowed; a regression has no classes to choose from")
        return Signature(given, [store.Tensor(name=VALUES, dtype="float32", shape=[-1, count])])
    outputs = [store.Tensor(name=PROBABILITIES, dtype="float32", shape=[-1, count])]
    if top_k is not None:
        if top_k > count:
            raise ConfigError(f"export.topK: {top_k} is not allowed; must be 1 to {count}, the number of classes")
        outputs += [
            store.Tensor(name=TOP_PROBABILITIES, dtype="float32", shape=[-1, top_k]),
            store.Tensor(name=TOP_LABELS, dtype="int64", shape=[-1, top_k], indexes=PROBABILITIES),
        ]
    return Signature(given, outputs, top_k)
