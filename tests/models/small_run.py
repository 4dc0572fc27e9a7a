"""A small training run with everything that a checkpoint must hold, in this process or in one that can be killed.

60 images of 8x8, 4 steps an epoch, 10 epochs; batch normalisation, dropout, augmentation, OneCycle and weight
averaging.
"""

import contextlib
import hashlib
import json
import multiprocessing
import os
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from trainserve.models import checkpoint, rank
from trainserve.models.config import Checkpoint, Trainer
from trainserve.models.data.dataset import Dataset
from trainserve.models.distributed import ALONE, Gang, gang_of
from trainserve.models.errors import Interrupted, RunFailed
from trainserve.models.interrupt import Interrupt
from trainserve.models.network import Network
from trainserve.models.train import Report, train

PER_EPOCH, EPOCHS = 4, 10
STEPS = PER_EPOCH * EPOCHS
CPU = torch.device("cpu")
TRAINER: dict[str, Any] = {
    "epochs": EPOCHS,
    "batchSize": 16,
    "optimizer": "sgd",
    "learningRate": 0.05,
    "schedule": "onecycle",
    "ema": 0.9,
    "augment": {"crop": 1, "flip": True},
}


def little(count: int = 60, **changes: Any) -> Dataset:
    """Return a data set of three classes: class c has a bright row c of 8x8 pixels."""
    random = np.random.default_rng(0)
    targets = np.arange(count) % 3
    images = random.integers(0, 60, (count, 8, 8, 1)).astype(np.uint8)
    images[np.arange(count), targets] = 255
    return replace(Dataset("little", images, targets, images, targets, list("abc")), **changes)


def network(plain: bool = False) -> Network:
    """Return a network; `plain` omits batch normalisation and dropout, which depend on the number of processes."""
    torch.manual_seed(0)
    between: list[nn.Module] = [] if plain else [nn.BatchNorm2d(4), nn.Dropout(0.3)]
    body = nn.Sequential(nn.Conv2d(1, 4, 3), *between, nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    return Network(little().normalisation(), body)


def weights(trained: nn.Module) -> str:
    """Return a digest of all parameters and buffers, bit for bit."""
    digest = hashlib.sha256()
    for name, value in trained.state_dict().items():
        digest.update(name.encode() + value.numpy().tobytes())
    return digest.hexdigest()


class Fatal(Interrupt):
    """Send this process a real signal after `steps` of its own steps; the loop checks once a step."""

    def __init__(self, number: signal.Signals | None = None, steps: int = 0) -> None:
        self._asked, self._number, self._steps, self._flag = 0, number, steps, False
        super().__init__()

    @property
    def requested(self) -> bool:
        self._asked += 1
        if self._number is not None and self._asked == self._steps:
            os.kill(os.getpid(), self._number)
        return self._flag

    @requested.setter
    def requested(self, value: bool) -> None:
        self._flag = value


@contextlib.contextmanager
def checkpoints(folder: Path, said: Callable[[str], None], **options: Any) -> Iterator[checkpoint.Checkpoints]:
    config = Checkpoint(folder=str(folder), **options)
    with checkpoint.opened(config, {"trainer": {"seed": 0}}, said) as opened:
        yield opened


def finished(folder: Path | None = None, said: list[str] | None = None, **trainer: Any) -> tuple[str, Report]:
    """Finish the run in this process, from the newest checkpoint if any; return its weights and last report."""
    torch.set_num_threads(1)
    say = (said if said is not None else []).append
    with checkpoints(folder, say) if folder else contextlib.nullcontext() as saved:
        trained = network()
        config = Trainer(**{**TRAINER, **trainer})
        last = train(trained, little(), config, CPU, lambda report: None, Interrupt(), ALONE, saved, say)
    return weights(trained), last


def process(folder: Path, out: Path, environment: dict[str, str] | None = None, **how: Any) -> BaseProcess:
    """Start the run in a separate process that writes its result to `out`; `how` holds the keys of `_main`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["trainserve.models.train", "torch._dynamo", "pytest"])
    started = context.Process(target=_main, args=(str(folder), str(out), environment or {}, how))
    started.start()
    return started


def gang(folder: Path, out: Path, port: int, size: int = 2, **environment: str) -> Callable[..., list[int]]:
    """Return a function from rank -> how to exit codes, which runs `size` processes under torchrun's environment."""

    def run(how: dict[int, dict[str, Any]] | None = None, **everywhere: Any) -> list[int]:
        own = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), **environment}
        started = [
            process(folder, out / str(rank), {**own, "RANK": str(rank)}, **everywhere, **(how or {}).get(rank, {}))
            for rank in range(size)
        ]
        for each in started:
            each.join(60)
            if each.is_alive():
                each.kill()
        return [each.exitcode if each.exitcode is not None else -1 for each in started]

    out.mkdir(exist_ok=True)
    return run


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _main(folder: str, out: str, environment: dict[str, str], how: dict[str, Any]) -> None:
    """Run the process. Keys of `how`: `kill`: (signal, own steps until then); `torn`: number, from 1, of the checkpoint
    during whose writing it is killed; `plain`: the network; `fail`: the error to raise instead of training; `trainer`:
    other fields."""
    os.environ.update(environment)
    torch.set_num_threads(1)
    if how.get("torn"):
        _tear(how["torn"])
    said: list[str] = []
    reports: list[Report] = []
    left: dict[str, Any] = {}
    code = 0
    interrupt = Fatal(*how.get("kill", ()))
    interrupt.install()
    own = rank.of(os.environ)
    try:
        with gang_of(own) if own.size > 1 else contextlib.nullcontext(ALONE) as world:
            if how.get("fail"):
                raise how["fail"]
            world.meet(CPU)
            saved = checkpoints(Path(folder), said.append) if own.first else contextlib.nullcontext()
            with interrupt.at_checks_only(), world.together(), saved as opened:
                trained = network(how.get("plain", False))
                config = Trainer(**{**TRAINER, **how.get("trainer", {})})
                last = train(trained, little(), config, CPU, reports.append, interrupt, world, opened, said.append)
            left = {"weights": weights(trained), "loss": last.loss}
            if isinstance(world, Gang):
                torch.save(trained.state_dict(), f"{out}.pt")
    except (RunFailed, Interrupted) as error:
        left, code = {"reason": error.reason, "message": str(error)}, error.exit_code
    Path(out).write_text(json.dumps({**left, "said": said, "steps": [report.step for report in reports]}))
    os._exit(code)


def _tear(number: int) -> None:
    whole, saves = checkpoint._write, iter(range(1, 10**6))

    def write(path: Path, content: memoryview) -> None:
        if next(saves) == number:
            path.write_bytes(content[: len(content) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        whole(path, content)

    checkpoint._write = write
