"""Speed of training on one CPU thread, compared with the usual loop of tutorials (bench/naive.py).

limits    a core's peak speed of multiplication and of copies, and the images/s that these allow (bench/limits.py)
convnet   28x28, batch 64: images/s of ours and of the naive loop; 12,800 images of Fashion-MNIST per round
resnet18  32x32, batch 64, 384 images: ours, the naive loop with the same network and with timm's, and Lightning's loop.
          Nearly all time is spent in convolutions, so the goal is attainable only where bf16 is much more than twice as
          fast as fp32 (AMX); with AVX512-BF16, it is twice as fast, and the core's peak is too low for the goal
fashion   all of Fashion-MNIST: ours (examples/fashion-mnist) to its accuracy on the test split, compared with 5 epochs
          of the naive loop; the times include both evaluations
start     the quickstart's run as a process: time until its first step is done, and duration of its export
memory    peak resident memory of a run over 1 GB of images from a file

Ours is `trainserve.models.train` itself, or the whole command. Rounds are interleaved, and the median of the rounds is
reported; images/s exclude the first step. timm and Lightning are measured if they are installed.

Run with `make bench`, or `python -m bench.training convnet start` for parts, whose figures are only printed. Compare
only figures of the same run, since the machines are shared.
"""

from __future__ import annotations

import os
import re

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is loaded; child processes inherit it

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from bench import limits, naive
from bench.naive import Pace
from bench.report import Bar, report, versions
from trainserve.models import config, data, zoo
from trainserve.models.data.dataset import Dataset
from trainserve.models.evaluate import evaluate
from trainserve.models.interrupt import Interrupt
from trainserve.models.network import Network
from trainserve.models.train import train

ROUNDS = {"convnet": 5, "resnet18": 3, "fashion": 2, "start": 5, "memory": 1}
CONVNET_IMAGES, RESNET_IMAGES, LARGE_IMAGES = 12_800, 384, 7_000
CPU = torch.device("cpu")
FASHION = Path(__file__).parent.parent / "examples/fashion-mnist/config.json"
Section = tuple[list[Bar], dict[str, Any]]
"""Figures, and the measurements of each round."""


def section_limits() -> Section:
    """Return the limits of the core, and of both networks' training steps on it."""
    core = limits.core()
    bars = [
        Bar("one core, fp32 peak", core.fp32 / 1e9, "GFLOP/s"),
        Bar("one core, bf16 peak", core.bf16 / 1e9, "GFLOP/s"),
        Bar("one core, copy within the cache", core.cache / 1e9, "GB/s"),
        Bar("one core, copy in memory", core.memory / 1e9, "GB/s"),
    ]
    for name, shape in (("convnet", (28, 28, 1)), ("resnet18", (32, 32, 3))):
        step = cost(name, shape)
        bars += [
            Bar(f"{name}: arithmetic of an image", step.flops / 1e9, "GFLOP"),
            Bar(f"{name}: traffic of an image", step.bytes / 1e6, "MB"),
            Bar(f"{name}: arithmetic allows", core.bf16 / step.flops, "images/s"),
            Bar(f"{name}: traffic allows", core.cache / step.bytes, "images/s"),
        ]
    return bars, {}


def cost(model: str, shape: tuple[int, int, int]) -> limits.Step:
    """Count the work of a training step of our trainer."""
    network = zoo.build(model, {}, shape, 10).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.rand(64, shape[2], *shape[:2]).to(memory_format=torch.channels_last)
    return limits.step(network, images, torch.arange(64) % 10, bf16=True)


def section_convnet() -> Section:
    """Measure the classic CNN."""
    full = data.load(config.Dataset(name="fashion-mnist"), seed=0)
    dataset = replace(
        full, train_images=full.train_images[:CONVNET_IMAGES], train_targets=full.train_targets[:CONVNET_IMAGES]
    )
    tensors = naive.tensors(dataset.train_images, dataset.train_targets)
    ways = {
        "ours": lambda: ours("convnet", dataset)[0],
        "naive": lambda: naive.train(naive.convnet(), tensors),
    }
    return compared("convnet 28x28", "convnet", ways, 2.4)


def section_resnet18() -> Section:
    """Measure ResNet-18 with a stem for small images."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (RESNET_IMAGES, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(RESNET_IMAGES) % 10
    names = [str(label) for label in range(10)]
    dataset = Dataset("random", images, labels, images[:64], labels[:64], names)
    tensors = naive.tensors(images, labels)
    ways = {
        "ours": lambda: ours("resnet18", dataset)[0],
        "naive": lambda: naive.train(plain_resnet18(), tensors),
    }
    if naive.installed("timm"):
        ways["timm's, naive"] = lambda: naive.train(naive.timm_resnet18(), tensors)
    if naive.installed("lightning"):
        ways["Lightning"] = lambda: naive.lightning(plain_resnet18(), tensors)
    bars, rounds = compared("resnet18 32x32", "resnet18", ways, 2.8)
    allowed = limits.core().bf16 / cost("resnet18", (32, 32, 3)).flops / median(rounds["naive"])
    return [*bars, Bar("resnet18 32x32, what the core's bf16 peak allows of naive", allowed, "x")], rounds


def section_fashion() -> Section:
    """Measure the time from the start of training to the accuracy of the goal."""
    wanted = json.loads(FASHION.read_text())
    dataset = data.load(config.Dataset(name="fashion-mnist"), seed=0)
    tensors = naive.tensors(dataset.train_images, dataset.train_targets)
    held_out = naive.tensors(dataset.test_images, dataset.test_targets)
    rounds: dict[str, list[float]] = {"ours, s": [], "ours, accuracy": [], "naive, s": [], "naive, accuracy": []}
    for number in range(ROUNDS["fashion"]):
        start = time.perf_counter()
        _, network = ours("convnet", dataset, **{**wanted["trainer"], "seed": number})
        rounds["ours, accuracy"].append(evaluate(network, dataset, CPU).accuracy or 0.0)
        rounds["ours, s"].append(time.perf_counter() - start)
        start = time.perf_counter()
        model = naive.convnet()
        naive.train(model, tensors, epochs=5)
        rounds["naive, accuracy"].append(naive.accuracy(model, held_out))
        rounds["naive, s"].append(time.perf_counter() - start)
    middle = {name: median(values) for name, values in rounds.items()}
    bars = [
        Bar("Fashion-MNIST, naive: 5 epochs", middle["naive, s"], "s"),
        Bar("Fashion-MNIST, naive: accuracy", 100 * middle["naive, accuracy"], "%"),
        Bar("Fashion-MNIST, ours", middle["ours, s"], "s"),
        Bar("Fashion-MNIST, ours: accuracy", 100 * middle["ours, accuracy"], "%", 91, "more"),
        Bar("Fashion-MNIST, ours of naive's time", middle["ours, s"] / middle["naive, s"], "x", 0.45),
    ]
    return bars, rounds


def section_start() -> Section:
    """Measure a whole run from the start of its process."""
    rounds: dict[str, list[float]] = {"first step, s": [], "import torch, s": [], "export, s": []}
    wanted = {"model": {"name": "convnet"}, "dataset": {"name": "digits"}}
    for _ in range(ROUNDS["start"]):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import torch"], check=True)
        rounds["import torch, s"].append(time.perf_counter() - start)
        began = time.time()
        events, _ = process(wanted)
        rounds["first step, s"].append(events["training"] - began)
        rounds["export, s"].append(events["exported"] - events["test split"])
    bars = [
        Bar("process start -> first step done", median(rounds["first step, s"]), "s", 3),
        Bar("of that, python -c 'import torch'", median(rounds["import torch, s"]), "s"),
        Bar("export of the convnet", median(rounds["export, s"]), "s", 5),
    ]
    return bars, rounds


def section_memory() -> Section:
    """Measure the peak RSS, which includes pages of mapped files."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (LARGE_IMAGES, 224, 224, 3), dtype=np.uint8)
    megabytes = images.nbytes / 1e6
    with tempfile.TemporaryDirectory(prefix="trainserve-bench-") as folder:
        path = Path(folder) / "large.npz"
        np.savez(path, x=images, y=np.arange(LARGE_IMAGES) % 10)
        del images
        small = {"name": "convnet", "options": {"channels": 4, "hidden": 16}}
        run = {"model": small, "dataset": {"path": str(path)}, "trainer": {"epochs": 1}}
        _, peak = process(run, TRAINSERVE_CACHE=folder)
    bars = [
        Bar("data of the memory's run", megabytes, "MB"),
        Bar("peak RSS of the run", peak, "MB", round(1.3 * megabytes + 600)),
    ]
    return bars, {}


def ours(model: str, dataset: Dataset, on: torch.device = CPU, **trainer: Any) -> tuple[Pace, Network]:
    """Run the real trainer."""
    chosen = config.parse(
        {
            "model": {"name": model},
            "dataset": {"name": "digits"},  # unused: `dataset` is given
            "trainer": {"epochs": 1, "batchSize": 64, **trainer},
        }
    )
    torch.manual_seed(chosen.trainer.seed)
    body = zoo.build(model, {}, dataset.shape, len(dataset.labels))
    network, pace = Network(dataset.normalisation(), body, dataset.task).to(on), Pace()
    train(network, dataset, chosen.trainer, on, lambda moment: pace.reached(moment.samples), Interrupt())
    return pace, network


def plain_resnet18() -> torch.nn.Module:
    """Build the zoo's network in PyTorch's default layout, NCHW."""
    return zoo.build("resnet18", {}, (32, 32, 3), 10).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload,no-any-return]


def compared(name: str, section: str, ways: dict[str, Callable[[], Pace]], goal: float) -> Section:
    """Compare ways by images/s, and ours as a multiple of the naive one."""
    rounds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(ROUNDS[section]):
        for way, once in ways.items():
            rounds[way].append(once().images_per_second)
    bars = [Bar(f"{name}, {way}", median(values), "images/s") for way, values in rounds.items()]
    ratio = median(rounds["ours"]) / median(rounds["naive"])
    return [*bars, Bar(f"{name}, ours of naive", ratio, "x", goal, "more")], rounds


def process(wanted: dict[str, Any], **environment: str) -> tuple[dict[str, float], float]:
    """Run the command; return the Unix time at which each event was first reported, and the peak RSS in MB."""
    with tempfile.TemporaryDirectory(prefix="trainserve-bench-") as folder:
        path = Path(folder) / "config.json"
        path.write_text(json.dumps({**wanted, "log": {"format": "json"}}))
        with (Path(folder) / "out").open("w+") as out:
            run = subprocess.Popen(
                [sys.executable, "-m", "trainserve.models", str(path)], stdout=out, env={**os.environ, **environment}
            )
            # Not wait4's ru_maxrss: a forked process inherits this process's own peak.
            peak = 0.0
            while run.poll() is None:
                peak = max(peak, _peak(run.pid))
                time.sleep(0.02)
            out.seek(0)
            lines = [json.loads(line) for line in out]
    if run.returncode != 0:
        raise SystemExit(f"the run ended with {run.returncode}: {lines[-1].get('message')}")
    events: dict[str, float] = {}
    for line in lines[:-1]:
        events.setdefault(line["event"], datetime.fromisoformat(line["time"]).timestamp())
    return events, peak


def _peak(pid: int) -> float:
    """Return the process's peak RSS so far, in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)  # a process that has just ended has none
    return int(found[1]) * 1024 / 1e6 if found else 0.0


SECTIONS = {
    "limits": section_limits,
    "convnet": section_convnet,
    "resnet18": section_resnet18,
    "fashion": section_fashion,
    "start": section_start,
    "memory": section_memory,
}


def main(asked: list[str]) -> None:
    """Measure and report the requested sections, by default all."""
    if unknown := set(asked) - set(SECTIONS):
        raise SystemExit(f"no section {', '.join(sorted(unknown))}; there are: {', '.join(SECTIONS)}")
    torch.set_num_threads(1)
    bars, rounds = [], {}
    for name in asked or SECTIONS:
        start = time.perf_counter()
        more, rounds[name] = SECTIONS[name]()
        bars += more
        print(f"{name}: measured in {time.perf_counter() - start:.0f} s", flush=True)
    used = versions("torch", "timm", "lightning", "onnx", "onnxscript", "numpy")
    ok = report("training", bars, ROUNDS, used, write=not asked, threads=1, rounds=rounds)
    sys.exit(not ok)


if __name__ == "__main__":
    main(sys.argv[1:])
