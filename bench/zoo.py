"""Models of the zoo with random weights, exported as by a run; created once and kept in ~/.cache/trainserve."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import trainserve.models

CACHE = Path("~/.cache/trainserve/bench-models").expanduser()
SHAPES = {"convnet": ((28, 28, 1), 10), "resnet50": ((224, 224, 3), 1000)}
"""Shape of one image (H, W, C), and number of classes, by model."""


def exported(name: str) -> Path:
    """Return the path of <name>.onnx, which maps uint8 images to probabilities; export it if it is missing."""
    path = CACHE / _sources() / f"{name}.onnx"
    if not path.is_file():
        for outdated in CACHE.glob("*"):
            if outdated != path.parent:
                shutil.rmtree(outdated)
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(".part")
        _export(name, aside)
        aside.rename(path)
    return path


def _sources() -> str:
    """Return a digest of the code that builds and exports models."""
    (room,) = trainserve.models.__path__
    digest = hashlib.sha256()
    for file in sorted(Path(room).rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _export(name: str, path: Path) -> None:
    import numpy as np
    import torch

    from trainserve.models.config import Export
    from trainserve.models.data.dataset import Dataset
    from trainserve.models.export import export
    from trainserve.models.graph import Graph
    from trainserve.models.network import Network
    from trainserve.models.signature import signature
    from trainserve.models.zoo import build

    shape, classes = SHAPES[name]
    torch.manual_seed(0)
    images = np.random.default_rng(0).integers(0, 256, (64, *shape), dtype=np.uint8)
    targets = np.arange(64) % classes
    data = Dataset("random", images, targets, images, targets, [f"class {number}" for number in range(classes)])
    body = build(name, {}, shape, classes)
    for module in body.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # 0 in a block's last one would make the block a no-op
            torch.nn.init.ones_(module.weight)
    export(Graph(Network(data.normalisation(), body), signature(Export(), data)), data, 18, path)
