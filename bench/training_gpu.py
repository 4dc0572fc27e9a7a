"""Speed of training on one NVIDIA GPU. Skipped without a GPU; figures of an earlier run are then kept.

resnet50  224x224, batch 256, 2,048 random images: ours (bf16, data on the device, the trainer's own speed trial before
          the first step) compared with a loop like torchvision's reference (fp32 with TF32 convolutions, NCHW,
          DataLoader workers, SGD); images/s, and model FLOP/s utilisation (MFU), the share of the GPU's bf16 peak
resnet9   32x32, 50,000 random images, 10 epochs of batch 1,024 with crops and flips: seconds, compared with the
          published time of airbench94 for CIFAR-10. CIFAR-10 is not available here, so only times are compared, not
          accuracy; airbench uses a different network, optimizer and schedule

Ours is `trainserve.models.train` itself. Rounds are interleaved, and the median of the rounds is reported.

Run with `make bench` or `python -m bench.training_gpu`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from itertools import islice
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from bench import limits
from bench.naive import Pace
from bench.report import RESULTS, Bar, report, versions
from bench.training import ours
from trainserve.models import device as devices
from trainserve.models import nvml, zoo
from trainserve.models.data.dataset import Dataset as Data

ROUNDS = 2
LARGE_IMAGES, LARGE_BATCH, LARGE_EPOCHS, NAIVE_STEPS = 2_048, 256, 150, 100
SMALL_IMAGES, SMALL_BATCH, SMALL_EPOCHS = 50_000, 1_024, 10
AIRBENCH_SECONDS = 2.59
"""airbench94: 94.01 % on CIFAR-10 in 9.9 epochs on one A100, as published (KellerJordan/cifar10-airbench)."""
PEAK = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12}
"""Dense bf16 FLOP/s, NVIDIA's data sheets (SXM where there are several)."""


class Decoded(Dataset[tuple[Tensor, int]]):
    """Data set like torchvision's with ToTensor and Normalize: it decodes one float image at a time."""

    def __init__(self, images: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = torch.from_numpy(self.images[index]).permute(2, 0, 1).float() / 255
        return (image - 0.45) / 0.225, int(self.labels[index])


def random_images(count: int, size: int, classes: int) -> Data:
    """Return random images: training on them costs as much as training on pictures."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    labels = np.arange(count) % classes
    return Data("random", images, labels, images[:classes], labels[:classes], [str(name) for name in range(classes)])


def reference(data: Data, steps: int) -> Pace:
    """Run `steps` steps of the loop of torchvision's references/classification, with its defaults."""
    model = zoo.build("resnet50", {}, data.shape, len(data.labels)).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    model.cuda().train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    criterion = nn.CrossEntropyLoss()
    decoded = Decoded(data.train_images, data.train_targets)
    loader = DataLoader(
        decoded, LARGE_BATCH, shuffle=True, num_workers=os.cpu_count() or 1, pin_memory=True, persistent_workers=True
    )
    pace, seen = Pace(), 0
    while seen < steps * LARGE_BATCH:
        for images, labels in islice(loader, steps - seen // LARGE_BATCH):
            images, labels = images.cuda(non_blocking=True), labels.cuda(non_blocking=True)
            loss = criterion(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()
            seen += len(labels)
            pace.reached(seen)
    return pace


def large(gpu: torch.device) -> tuple[list[Bar], dict[str, Any]]:
    """Measure ResNet-50."""
    data = random_images(LARGE_IMAGES, 224, 1000)
    trainer = {"epochs": LARGE_EPOCHS, "batchSize": LARGE_BATCH, "optimizer": "sgd", "learningRate": 0.1}
    uuid = devices.gpus(gpu)[0]
    rounds: dict[str, list[float]] = {"ours, images/s": [], "ours, J/image": [], "naive, images/s": []}
    for _ in range(ROUNDS):
        before = nvml.joules(uuid)
        pace, _ = ours("resnet50", data, gpu, **trainer)
        rounds["ours, J/image"].append((nvml.joules(uuid) - before) / pace.moments[-1][1])
        rounds["ours, images/s"].append(pace.images_per_second)
        rounds["naive, images/s"].append(reference(data, NAIVE_STEPS).images_per_second)
    middle = {name: median(values) for name, values in rounds.items()}
    model = zoo.build("resnet50", {}, data.shape, 1000)
    flops = limits.step(model, torch.rand(2, 3, 224, 224), torch.arange(2), bf16=False).flops
    bars = [
        Bar("resnet50 224x224, ours", middle["ours, images/s"], "images/s"),
        Bar("resnet50 224x224, naive", middle["naive, images/s"], "images/s"),
        Bar("resnet50 224x224, ours of naive", middle["ours, images/s"] / middle["naive, images/s"], "x"),
        Bar("resnet50 224x224, arithmetic of an image", flops / 1e9, "GFLOP"),
        Bar("resnet50 224x224, ours: energy, trial included", middle["ours, J/image"], "J/image"),
    ]
    name = torch.cuda.get_device_name(gpu)
    peak = next((value for kind, value in PEAK.items() if kind in name), None)
    if peak is not None:
        share = 100 * middle["ours, images/s"] * flops / peak
        bars.append(Bar(f"resnet50 224x224, ours: MFU of {peak / 1e12:.0f} TFLOP/s", share, "%"))
    return bars, rounds


def small(gpu: torch.device) -> tuple[list[Bar], dict[str, Any]]:
    """Measure ResNet-9."""
    data = random_images(SMALL_IMAGES, 32, 10)
    trainer = {"epochs": SMALL_EPOCHS, "batchSize": SMALL_BATCH, "optimizer": "sgd", "schedule": "onecycle"}
    rounds: dict[str, list[float]] = {"whole call, s": [], "from the first step, s": []}
    for _ in range(ROUNDS):
        torch.cuda.synchronize()
        start = time.perf_counter()
        pace, _ = ours("resnet9", data, gpu, **trainer, learningRate=0.1, augment={"crop": 2, "flip": True})
        torch.cuda.synchronize()
        rounds["whole call, s"].append(time.perf_counter() - start)
        rounds["from the first step, s"].append(pace.moments[-1][0] - pace.moments[0][0])
    steady = median(rounds["from the first step, s"])
    bars = [
        Bar("resnet9 32x32, 10 epochs of 50,000, whole call", median(rounds["whole call, s"]), "s"),
        Bar("resnet9 32x32, the same from its first step on", steady, "s"),
        Bar("airbench94, published, quoted (A100, CIFAR-10)", AIRBENCH_SECONDS, "s"),
    ]
    return bars, rounds


def main() -> None:
    """Measure both and report."""
    used = versions("torch", "numpy", "nvidia-ml-py")
    if not torch.cuda.is_available():
        path, reason = RESULTS / "training_gpu.json", "no NVIDIA GPU: torch.cuda.is_available() is False"
        print(f"training_gpu: skipped: {reason}")
        if not (path.exists() and json.loads(path.read_text())["bars"]):
            report("training_gpu", [], {}, used, skipped=reason)
        return
    gpu = torch.device("cuda", 0)
    bars, rounds = large(gpu)
    more, rounds["resnet9"] = small(gpu)
    properties = torch.cuda.get_device_properties(gpu)
    described = {
        "name": properties.name,
        "memoryGiB": round(properties.total_memory / 2**30),
        "cuda": torch.version.cuda,
    }
    ok = report("training_gpu", [*bars, *more], {"rounds": ROUNDS}, used, device=described, rounds=rounds)
    sys.exit(not ok)


if __name__ == "__main__":
    main()
