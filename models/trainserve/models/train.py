"""The training loop.

What:  shuffled epochs of optimizer steps over data on the device; cross entropy with label smoothing, or mean squared
       error; SGD, Adam or AdamW with a constant, cosine or OneCycle schedule; gradient accumulation, averaged weights,
       augmentation; bf16 if the device has units for it; one process or several. Deterministic from the seed: the same
       config, world size and number of threads give the same weights on a CPU, bit for bit, also after resuming from
       a checkpoint. Nothing in a step synchronises with the device; loss and accuracy are summed there and read twice
       a second.
Speed: batch 64, one thread, images per second, medians of n rounds interleaved with a naive DataLoader loop
       (bench/training.py). A Xeon with AMX: convnet 28x28 10,900, 2.6 times as fast (n = 5, 12,800 images each);
       resnet18 32x32 129, 3.5 times (n = 3, 384 images each). An EPYC with AVX512-BF16 and without AMX: 14,500, 2.9
       times, and 101, 2.0 times. Everything outside of the network's operations takes 0.1 ms a step.
On a GPU the same code runs on CUDA; bench/training_gpu.py measures it.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from trainserve.models import batchnorm, checkpoint, optim, precision, sampling, speedup
from trainserve.models.augment import Augment
from trainserve.models.batches import batches
from trainserve.models.checkpoint import Checkpoints
from trainserve.models.config import Trainer
from trainserve.models.curves import Curves, Point
from trainserve.models.data.dataset import Dataset, Task
from trainserve.models.distributed import ALONE, Alone
from trainserve.models.ema import Average
from trainserve.models.errors import ConfigError, Interrupted, UserError
from trainserve.models.interrupt import Interrupt
from trainserve.models.network import Network
from trainserve.models.precision import Precision
from trainserve.models.sampling import Part, chance

REPORT_EVERY = 0.5
"""Seconds between two readings of the loss, each of which synchronises with the device."""


@dataclass(frozen=True)
class Report:
    """Progress of the loop. `loss`, `accuracy`: means over the current epoch, accuracy None in a regression.

    `seconds`: of training since the first step, over all attempts; `seconds_lost`: of training that was repeated.
    """

    epoch: int
    step: int
    steps: int
    samples: int
    seconds: float
    loss: float
    accuracy: float | None
    epoch_ended: bool

    samples_per_second: float
    """Speed of this attempt from its second step on, because the first includes set-up; 0 after one step."""

    seconds_lost: float = 0.0
    samples_before: int = 0
    """The part of `samples` from earlier attempts."""

    precision: str = "fp32"
    """Arithmetic of the steps: fp32, tf32 or bf16."""


def train(
    network: Network,
    dataset: Dataset,
    config: Trainer,
    device: torch.device,
    report: Callable[[Report], None],
    interrupt: Interrupt,
    world: Alone = ALONE,
    checkpoints: Checkpoints | None = None,
    say: Callable[[str], None] = lambda text: None,
    curves: Curves | None = None,
) -> Report:
    """Train `network` in place on `device`, where it is; returns the last report.

    `report` is called at the end of every epoch and twice a second; `curves` gets a point each time, and the points of
    earlier attempts on resuming. Only rank 0 of `world` has `checkpoints`. Raises UserError if the loss is not finite,
    and Interrupted between two steps, after saving the state.
    """
    numbers = precision.choose(config.precision, device)
    if (theirs := (world.share(numbers.name.encode()) or b"").decode()) != numbers.name:
        raise UserError(
            f'trainer.precision: "{config.precision}" is {theirs} for rank 0 and {numbers.name} for rank '
            f"{world.rank.rank}, whose devices differ; must be set to one that both support"
        )
    say(f"precision: {numbers.name} ({numbers.why})")
    with numbers.training(device):
        loop = _Loop(network, dataset, config, device, numbers, world, checkpoints, say, curves or Curves())
        return loop.run(report, interrupt)


class _Loop:
    """One run of the loop: its settings and its state (`step`, and sums over the current epoch)."""

    def __init__(
        self,
        network: Network,
        dataset: Dataset,
        config: Trainer,
        device: torch.device,
        numbers: Precision,
        world: Alone,
        checkpoints: Checkpoints | None,
        say: Callable[[str], None],
        curves: Curves,
    ) -> None:
        self.config, self.device, self.numbers, self.curves = config, device, numbers, curves
        self.world, self.checkpoints = world, checkpoints
        self.classes = dataset.task == "classification"
        self.sampling = sampling.of(len(dataset.train_images), config, world.rank)
        self.steps = self.sampling.steps_per_epoch * config.epochs
        self.source = batches(dataset.train_images, dataset.train_targets, device)
        self.augment = None if config.augment is None else Augment(config.augment, dataset.shape)
        self.dice = torch.Generator(device)
        self.loss = _loss(dataset.task, config)
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        batchnorm.check(network, torch.tensor(dataset.test_images[:1], device=device), self.sampling)
        self.optimizer = optim.optimizer(network.parameters(), config)
        self.schedule = optim.schedule(self.optimizer, config, self.steps)
        self.average = None if config.ema is None else Average(network, config.ema)
        self.step = 0
        self.sums = torch.zeros(2, dtype=torch.float64, device=device)  # of losses, of correct predictions
        self.finite = torch.zeros(1, dtype=torch.int64, device=device)  # steps with a finite loss
        self.earlier = self.lost = 0.0  # seconds
        self.rate: float | None = None  # of the last step
        if (content := world.share(checkpoints.newest() if checkpoints else None)) is not None:
            self._resume(checkpoint.state(content), say)
        elif checkpoints:
            self.lost = checkpoints.lost(0.0)
        network.train()
        module = _Logits(network)
        self.model = world.prepare(module)
        self.forward: speedup.Pass = self.model
        if device.type == "cuda" and self.model is module and config.accumulate == 1:
            with numbers.forward(device):
                sample = next(self.source.take([torch.arange(min(self.sampling.part, self.sampling.count))]))[0]
                self.forward = speedup.fastest(module, sample, self.steps - self.step, say=say)

    def run(self, report: Callable[[Report], None], interrupt: Interrupt) -> Report:
        """Run all remaining steps; without any, report the final state."""
        per_epoch = self.sampling.steps_per_epoch
        self.samples_before = self._samples(self.step)
        self.start = self.steady = self.then = next_report = time.perf_counter()
        first = self.step + 1
        self.steady_samples = self.samples_then = self._samples(first)
        for epoch in range(self.step // per_epoch + 1, self.config.epochs + 1):
            if self.step % per_epoch == 0:
                self.sums.zero_()
                self.finite.zero_()
            steps = self.sampling.steps(epoch, done=self.step % per_epoch)
            taken = self.source.take(part.samples for part in chain.from_iterable(steps))
            for parts in steps:
                self._optimize(parts, taken)
                if self.step == first:
                    self.steady = self.then = time.perf_counter()
                now = time.perf_counter()
                stop, due = self.world.agree(interrupt.requested, now >= next_report)
                ended = self.step % per_epoch == 0
                if due or ended or stop:
                    next_report = now + REPORT_EVERY
                    latest = self._read()
                    report(latest)
                    saved = self._save() if stop or (ended and self._save_at(epoch)) else None
                    if stop:
                        self.world.wait()
                        raise Interrupted(f"SIGTERM: stopped after step {self.step} of {self.steps}, {saved}")
        self.world.wait()
        if self.step < first:
            latest = self._read()
            report(latest)
        if self.average:
            self.average.replace()
        return latest

    def _optimize(self, parts: list[Part], taken: Iterator[tuple[Tensor, Tensor]]) -> None:
        """One optimizer step."""
        self._roll_dice()
        self.optimizer.zero_grad(set_to_none=True)
        for part in parts:
            images, targets = next(taken)
            exchanged = part is parts[-1]
            with contextlib.nullcontext() if exchanged else self.world.local_gradients(self.model):
                if self.augment:
                    images = self.augment.apply(images, self.dice)
                with self.numbers.forward(self.device):
                    logits = self.forward(images)
                logits = logits.float()
                loss = self.loss(logits, targets)
                (loss if part.weight == 1 else loss * part.weight).backward()  # type: ignore[no-untyped-call]
            self._count(part, loss, logits, targets)
        self.optimizer.step()
        self.rate = float(self.schedule.get_last_lr()[0])
        self.schedule.step()
        self.step += 1
        if self.average:
            self.average.update(self.step)
        self.finite += torch.isfinite(self.sums[0])

    def _roll_dice(self) -> None:
        """Seed augmentation and dropout from the step number, so that checkpoints need no generator state."""
        self.dice.manual_seed(chance(self.config.seed, "augment", self.step, self.sampling.rank))
        seed = chance(self.config.seed, "network", self.step, self.sampling.rank)
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    @torch.no_grad()
    def _count(self, part: Part, loss: Tensor, logits: Tensor, targets: Tensor) -> None:
        """Add this part's summed loss and correct predictions, on the device."""
        if part.counted:
            self.sums[0] += loss * part.counted
            if self.classes:
                self.sums[1] += (logits.argmax(dim=1) == targets).sum()

    def _read(self) -> Report:
        """Read the sums, the only synchronisation with the device. Raises UserError if the loss is not finite."""
        now = time.perf_counter()
        totals, finite = self.world.total(self.sums, self.finite)
        loss_sum, right = totals.tolist()
        epoch = math.ceil(self.step / self.sampling.steps_per_epoch)
        samples = self._samples(self.step)
        seen = samples - (epoch - 1) * self.sampling.count
        if not math.isfinite(loss_sum):
            step = (epoch - 1) * self.sampling.steps_per_epoch + int(finite) + 1
            raise UserError(
                f"trainer.learningRate: loss is {loss_sum} at step {step} with "
                f"rate {optim.rate_at(self.config, step, self.steps):g}; must be smaller"
            )
        self.totals, self.seconds = totals, self.earlier + now - self.start
        if self.checkpoints:
            self.checkpoints.reached(self.seconds)
        latest = Report(
            epoch=epoch,
            step=self.step,
            steps=self.steps,
            samples=samples,
            seconds=self.seconds,
            loss=loss_sum / seen,
            accuracy=right / seen if self.classes else None,
            epoch_ended=self.step % self.sampling.steps_per_epoch == 0,
            samples_per_second=max(0, samples - self.steady_samples) / max(time.perf_counter() - self.steady, 1e-9),
            seconds_lost=self.lost,
            samples_before=self.samples_before,
            precision=self.numbers.name,
        )
        self._record(latest, now)
        return latest

    def _record(self, latest: Report, now: float) -> None:
        """Add a point to the curves, unless this attempt has made no step."""
        if self.rate is None:
            return
        seen, seconds = latest.samples - self.samples_then, now - self.then
        self.samples_then, self.then = latest.samples, now
        self.curves.add(
            Point(
                epoch=latest.epoch,
                step=latest.step,
                seconds=latest.seconds,
                loss=latest.loss,
                accuracy=latest.accuracy,
                learning_rate=self.rate,
                samples_per_second=seen / seconds if seen > 0 else None,
            )
        )

    def _samples(self, step: int) -> int:
        """Samples seen after `step` steps."""
        epochs, steps = divmod(step, self.sampling.steps_per_epoch)
        return epochs * self.sampling.count + steps * self.sampling.batch

    def _save_at(self, epoch: int) -> bool:
        return self.checkpoints is not None and (
            epoch % self.checkpoints.every_epochs == 0 or epoch == self.config.epochs
        )

    def _save(self) -> str:
        """Save the state as of the last `_read`; returns where, for messages."""
        if self.checkpoints is None:
            return "not saved: the run has no checkpoint folder" if self.world.rank.first else "rank 0 saves it"
        path = self.checkpoints.save(
            self.step,
            {
                "step": self.step,
                "seconds": self.seconds,
                "precision": self.numbers.name,
                "totals": self.totals,
                "finite": self.finite,
                "network": self.network.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
                "average": self.average.state if self.average else None,
                "curves": self.curves.state,
            },
        )
        return f"saved as {path}"

    def _resume(self, state: dict[str, Any], say: Callable[[str], None]) -> None:
        self.step, self.earlier = state["step"], state["seconds"]
        self.lost = self.checkpoints.lost(self.earlier) if self.checkpoints else 0.0
        if self.world.rank.first:
            self.sums.copy_(state["totals"])
        self.finite.copy_(state["finite"])
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        if self.average:
            self.average.load(state["average"])
        self.curves.load(state.get("curves"))
        say(f"resumed: after step {self.step} of {self.steps}; {self.lost:.1f} s of training were lost so far")
        if state["precision"] != self.numbers.name:
            say(f"precision: the run began in {state['precision']}, on another kind of device; weights will differ")


class _Logits(nn.Module):
    """The network for training: raw images to logits."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network.logits(images)


def _loss(task: Task, config: Trainer) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss function, a mean over a part. Raises UserError for label smoothing in a regression."""
    if task == "classification":
        return partial(nn.functional.cross_entropy, label_smoothing=config.label_smoothing)
    if config.label_smoothing > 0:
        raise ConfigError(f"trainer.labelSmoothing: {config.label_smoothing} is not allowed; must be 0 in a regression")
    return nn.functional.mse_loss
