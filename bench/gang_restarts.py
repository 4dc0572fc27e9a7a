"""Restarts of a gang that crashes 20 times: torchrun must restart it each time, and its final weights must be the same.

One torchrun with 2 processes (gloo) trains the convnet on the digits for 42 epochs. In each of its first 20 starts, on
alternate ranks, a process kills itself (SIGKILL) 3 steps after a checkpoint; torchrun restarts both processes, which
rendezvous through the store that the dead ones used, and resume. At the end, the weights are compared with those of a
gang that never crashed.

Run with `python -m bench.gang_restarts`.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import hashlib
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.report import Bar, report, versions

CRASHES, EPOCHS, STEPS_AFTER = 20, 42, 3


def main() -> None:
    """Run both gangs, one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        lives, crashed, seconds = _torchrun(Path(folder) / "crashing", CRASHES)
        _, whole, _ = _torchrun(Path(folder) / "whole", 0)
    bars = [
        Bar("crashes survived", lives - 1, "of 20", CRASHES, "more"),
        Bar("weights equal to the uncrashed gang's", float(crashed == whole), "", 1, "more"),
        Bar("start to start of a life, mean", seconds / lives, "s"),
    ]
    sys.exit(0 if report("gang_restarts", bars, {"crashes": CRASHES}, versions("torch")) else 1)


def _torchrun(folder: Path, crashes: int) -> tuple[int, str, float]:
    """Run a gang; return its number of starts, a digest of its weights, and the seconds it took."""
    folder.mkdir()
    worker = [__spec__.name, "--worker", str(folder), str(crashes)]
    options = ["--nproc-per-node=2", "--standalone", f"--max-restarts={crashes}", "--monitor-interval=0.1"]
    start = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *options, "-m", *worker],
        check=True,
        timeout=1800,
        stderr=(folder / "stderr").open("w"),
    )
    return len(list(folder.glob("life-*"))), (folder / "weights").read_text(), time.monotonic() - start


def _worker(folder: Path, crashes: int) -> None:
    """Train as one process of the gang."""
    import contextlib

    import torch

    from trainserve.models import data, rank, zoo
    from trainserve.models.checkpoint import opened
    from trainserve.models.config import Checkpoint, Trainer
    from trainserve.models.config import Dataset as Digits
    from trainserve.models.distributed import gang_of
    from trainserve.models.interrupt import Interrupt
    from trainserve.models.network import Network
    from trainserve.models.train import train

    torch.set_num_threads(1)
    life, own, device = int(os.environ["TORCHELASTIC_RESTART_COUNT"]), rank.of(os.environ), torch.device("cpu")
    dataset = data.load(Digits(name="digits"), seed=0)
    per_epoch = -(-len(dataset.train_images) // 64)

    class Fatal(Interrupt):
        """Called by the training loop once per step; kills the process `STEPS_AFTER` steps into its second epoch."""

        asked = 0

        @property
        def requested(self) -> bool:
            self.asked += 1
            if life < crashes and own.rank == life % 2 and self.asked == per_epoch + STEPS_AFTER:
                os.kill(os.getpid(), signal.SIGKILL)
            return False

        @requested.setter
        def requested(self, value: bool) -> None: ...

    torch.manual_seed(0)
    network = Network(dataset.normalisation(), zoo.build("convnet", {}, dataset.shape, 10))
    with gang_of(own) as gang:
        gang.meet(device)
        (folder / f"life-{life}").touch()
        checkpoint = Checkpoint(folder=str(folder / "checkpoints"))
        with opened(checkpoint, {}, print) if own.first else contextlib.nullcontext() as saved:
            config = Trainer(epochs=EPOCHS)
            train(network, dataset, config, device, lambda report: None, Fatal(), gang, saved, lambda text: None)
    if own.first:
        digest = hashlib.sha256(b"".join(value.numpy().tobytes() for value in network.state_dict().values()))
        (folder / "weights").write_text(digest.hexdigest())


if __name__ == "__main__":
    if "--worker" in sys.argv:
        _worker(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
