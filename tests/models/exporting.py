"""Helpers of the export tests: a small data set, and an export in one call."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from trainserve import store
from trainserve.models import artifact
from trainserve.models.artifact import Artifact
from trainserve.models.config import Config, Export, parse
from trainserve.models.data.dataset import Dataset
from trainserve.models.export import Exported, export
from trainserve.models.graph import Graph
from trainserve.models.network import Network
from trainserve.models.signature import signature


def dataset(shape: tuple[int, int, int] = (8, 8, 1), classes: int = 5, count: int = 300) -> Dataset:
    """Return a data set of `count` training and `count` test images; class c has a bright row c."""
    random = np.random.default_rng(0)
    targets = np.arange(2 * count) % classes
    images = random.integers(0, 60, (2 * count, *shape)).astype(np.uint8)
    images[np.arange(2 * count), targets % shape[0]] = 255
    labels = [f"row {label}" for label in range(classes)]
    return Dataset("rows", images[:count], targets[:count], images[count:], targets[count:], labels)


def regression(shape: tuple[int, int, int] = (8, 8, 1), outputs: int = 2) -> Dataset:
    """Return a regression data set: the targets are the class numbers, negated in the second column."""
    classes = dataset(shape)
    targets: dict[str, Any] = {
        part: np.stack([getattr(classes, part), -getattr(classes, part)], 1)[:, :outputs].astype(np.float32)
        for part in ("train_targets", "test_targets")
    }
    labels = ["up", "down"][:outputs]
    return replace(classes, task="regression", labels=labels, **targets)


def graph(data: Dataset, body: nn.Module, **config: Any) -> Graph:
    """Build the graph to export; `config` holds the fields of CONFIG.json's `export`."""
    return Graph(Network(data.normalisation(), body, data.task), signature(Export.model_validate(config), data))


def exported(data: Dataset, body: nn.Module, folder: Path, **config: Any) -> tuple[Graph, Exported]:
    made = graph(data, body, **config)
    return made, export(made, data, config.get("opset", 18), folder / "model.onnx")


def linear(data: Dataset) -> nn.Module:
    """Return the smallest network."""
    return nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(data.shape)), len(data.labels)))


def learnt(data: Dataset, body: nn.Module, steps: int = 60) -> nn.Module:
    """Train `body` on the whole training split for `steps` steps; return it in evaluation mode."""
    network = Network(data.normalisation(), body, data.task)
    images, targets = torch.from_numpy(data.train_images), torch.from_numpy(data.train_targets)
    loss = nn.functional.cross_entropy if data.task == "classification" else nn.functional.mse_loss
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(network.logits(images), targets).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return body.eval()


def config(gates: dict[str, Any] | None = None, **export: Any) -> Config:
    """Return a complete configuration with this `export` section."""
    sections = {"model": {"name": "convnet"}, "dataset": {"name": "digits"}, "export": export, "gates": gates or {}}
    return parse(sections)


def made(data: Dataset, body: nn.Module, folder: Path, **export: Any) -> Artifact:
    """Export and check a network as a run does."""
    return artifact.make(graph(data, body, **export), data, config(**export), folder)


def published(data: Dataset, body: nn.Module, root: Path, folder: Path, name: str, **export: Any) -> store.Published:
    """Export a network and publish it in the store under `name`."""
    done = made(data, body, folder, **export)
    draft = done.draft(config(**export), data, store.Metrics(accuracy=1.0, loss=0.0), store.Energy())
    return store.publish(root, "default", name, done.record(folder), draft)
