"""`synthetic`: any shape and size, reproducible from its seed, and learnable by a small network."""

import hashlib
import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from trainserve.models.data.dataset import Dataset
from trainserve.models.errors import UserError

from .data_files import load


def synthetic(seed: int = 0, task: str = "classification", **options: Any) -> Dataset:
    return load(seed, name="synthetic", task=task, options=options)


@pytest.mark.parametrize("shape", [[8, 8, 1], [3, 17, 5], [1, 1, 3], [64, 2, 2]])
def test_it_has_the_shape_classes_and_samples_that_were_asked_for(shape: list[int]) -> None:
    dataset = synthetic(shape=shape, classes=7, samples=700)
    assert dataset.shape == tuple(shape)
    assert dataset.labels == list("0123456")
    assert np.bincount(np.concatenate([dataset.train_targets, dataset.test_targets])).tolist() == [100] * 7
    assert (len(dataset.train_images), len(dataset.test_images)) == (560, 140)


def test_it_depends_on_the_seed_alone() -> None:
    first, again, other = (synthetic(seed, shape=[8, 8, 1], samples=500) for seed in (3, 3, 4))
    assert np.array_equal(first.train_images, again.train_images)
    assert np.array_equal(first.test_targets, again.test_targets)
    assert not np.array_equal(first.train_images, other.train_images)


def test_another_process_makes_the_same() -> None:
    program = (
        "import hashlib, json; from trainserve.models import data; from trainserve.models.config import parse;"
        "config = parse({'model': {'name': 'convnet'}, 'dataset': {'name': 'synthetic', 'options': {'samples': 100}}});"
        "print(hashlib.sha256(data.load(config.dataset, 5).train_images.tobytes()).hexdigest())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == hashlib.sha256(synthetic(5, samples=100).train_images.tobytes()).hexdigest()


def learnt(dataset: Dataset, loss: nn.Module) -> torch.Tensor:
    """Return the outputs on the test split of a network with one hidden layer, trained for five epochs."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(dataset.train_images[0].size, 64), nn.ReLU())
    net.append(nn.Linear(64, len(dataset.labels)))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    images, targets = torch.from_numpy(dataset.train_images) / 255 - 0.5, torch.from_numpy(dataset.train_targets)
    for _ in range(5):
        for batch in torch.split(torch.randperm(len(images)), 64):
            optimizer.zero_grad()
            loss(net(images[batch]), targets[batch]).backward()
            optimizer.step()
    with torch.inference_mode():
        outputs: torch.Tensor = net(torch.from_numpy(dataset.test_images) / 255 - 0.5)
    return outputs


def test_a_small_net_learns_its_classes() -> None:
    dataset = synthetic(shape=[8, 8, 1], classes=10, samples=3000)
    right = learnt(dataset, nn.CrossEntropyLoss()).argmax(1).numpy() == dataset.test_targets
    assert right.mean() > 0.9


def test_a_small_net_learns_its_values() -> None:
    dataset = synthetic(task="regression", shape=[8, 8, 1], targets=3, samples=3000)
    assert dataset.train_targets.shape == (2400, 3)
    assert dataset.train_targets.dtype == np.float32
    error = learnt(dataset, nn.MSELoss()).numpy() - dataset.test_targets
    assert np.square(error).mean() < 0.1 * dataset.test_targets.var()


@pytest.mark.parametrize(
    ("task", "options", "text"),
    [
        ("classification", {"shape": [8, 8]}, "dataset.options.shape: [8, 8] is not allowed; "),
        ("classification", {"shape": [0, 8, 1]}, "dataset.options.shape[0]: 0 is not allowed; must be >= 1"),
        ("classification", {"classes": 1}, "dataset.options.classes: 1 is not allowed; must be >= 2"),
        ("classification", {"samples": 0}, "dataset.options.samples: 0 is not allowed; must be >= 1"),
        ("classification", {"targets": 2}, "dataset.options.targets: unknown field; allowed: classes, samples, shape"),
        ("regression", {"classes": 2}, "dataset.options.classes: unknown field; allowed: samples, shape, targets"),
    ],
)
def test_bad_options_are_refused_by_name(task: str, options: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError) as error:
        synthetic(task=task, **json.loads(json.dumps(options)))
    assert str(error.value).startswith(text)
