"""Baseline of training: the usual loop of tutorials, with models as tutorials write them.

The data are converted to float tensors before the timed part, which favours the baseline: with a folder of images, or
torchvision's transforms, each sample would take longer. Everything else is PyTorch's default: fp32, NCHW, Adam, and
`loss.item()` in every step.
"""

from __future__ import annotations

import logging
import time
import warnings
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from trainserve.models.torchvision import declare_operators


@dataclass
class Pace:
    """Times at which numbers of images had been trained on, from the end of the first step on, which includes torch's
    setup."""

    moments: list[tuple[float, int]] = field(default_factory=list)

    def reached(self, images: int) -> None:
        """Record the total number of images so far."""
        self.moments.append((time.perf_counter(), images))

    @property
    def images_per_second(self) -> float:
        """Return the images per second over all steps but the first."""
        (start, first), (end, last) = self.moments[0], self.moments[-1]
        return (last - first) / (end - start)


def convnet() -> nn.Module:
    """Build the classic first CNN, for 28x28x1 images."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(13 * 13 * 32, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )


def timm_resnet18() -> nn.Module:
    """Build timm's network, with the stem replaced as usual for 32x32 images."""
    declare_operators()  # timm imports torchvision
    import timm

    model: Any = timm.create_model("resnet18", num_classes=10)
    model.conv1, model.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    return model  # type: ignore[no-any-return]


def tensors(images: object, targets: object) -> TensorDataset:
    """Convert uint8 NHWC images to NCHW floats from 0 to 1, with their targets."""
    floats = torch.as_tensor(images).permute(0, 3, 1, 2).contiguous().float() / 255
    return TensorDataset(floats, torch.as_tensor(targets))


def train(model: nn.Module, data: TensorDataset, epochs: int = 1, batch: int = 64, device: str = "cpu") -> Pace:
    """Train `model` in place."""
    pace, seen = Pace(), 0
    model.to(device).train()
    optimizer = torch.optim.Adam(model.parameters())
    criterion = nn.CrossEntropyLoss()
    for _ in range(epochs):
        running = 0.0
        for images, labels in DataLoader(data, batch_size=batch, shuffle=True):
            images, labels = images.to(device), labels.to(device)
            optimizer.zero_grad()
            loss = criterion(model(images), labels)
            loss.backward()
            optimizer.step()
            running += loss.item()
            seen += len(labels)
            pace.reached(seen)
    return pace


@torch.inference_mode()
def accuracy(model: nn.Module, data: TensorDataset) -> float:
    """Return the share of correct predictions."""
    model.eval()
    right = 0
    for images, labels in DataLoader(data, batch_size=1000):
        right += int((model(images).argmax(dim=1) == labels).sum())
    return right / len(data)


def installed(package: str) -> bool:
    """Return whether the package can be imported."""
    return find_spec(package) is not None


def lightning(model: nn.Module, data: TensorDataset, batch: int = 64) -> Pace:
    """Train with PyTorch Lightning's Trainer, with logging, progress bar and other reporting disabled."""
    declare_operators()  # Lightning imports torchvision where there is one
    import lightning

    pace = Pace()

    class Module(lightning.LightningModule):
        def training_step(self, part: tuple[torch.Tensor, torch.Tensor], number: int) -> torch.Tensor:
            return nn.functional.cross_entropy(model(part[0]), part[1])

        def on_train_batch_end(self, outputs: Any, part: Any, number: int) -> None:
            pace.reached((number + 1) * batch)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(model.parameters())

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = Module()
        module.model = model
        trainer.fit(module, DataLoader(data, batch_size=batch, shuffle=True))
    return pace
