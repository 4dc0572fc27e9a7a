"""`trainserve serve` of two checkouts compared: requests per second, and time until the model is ready.

Both serve the zoo's convnet, each from its own `.venv` with its own guard, and take turns in each round: a start, then
wrk as the client (one image per request, binary form over HTTP) with 1 and with 32 connections on the same cores.

Run with `python -m bench.serving_cost BEFORE NOW`, the folders of both. Figures are medians over the rounds.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench import zoo
from bench.pauses import wait
from bench.report import Bar, report, versions
from bench.targets import Target
from bench.wrk import install
from trainserve.serving.protocol.control import is_ready

ROUNDS, SECONDS = 5, 4
PORTS = (18600, 18601, 18602)


class Cost(NamedTuple):
    """Figures of one round."""

    start: float
    """Seconds until the model is ready."""
    alone: float
    """Requests per second over one connection."""
    together: float
    """Requests per second over 32 connections."""


@contextlib.contextmanager
def serving(checkout: Path, log: Path) -> Iterator[str]:
    """Run `trainserve serve` of that checkout until the block ends; yields the address of its HTTP endpoint."""
    command = [str(checkout.absolute() / ".venv" / "bin" / "trainserve"), "serve", str(zoo.exported("convnet"))]
    for name, port in zip(("http", "grpc", "metrics"), PORTS, strict=True):
        command += [f"--{name}-port", str(port)]
    with log.open("ab") as out, subprocess.Popen(command, stdout=out, stderr=out) as process:
        try:
            yield f"127.0.0.1:{PORTS[0]}"
        finally:
            process.terminate()


def round_of(checkout: Path, folder: Path) -> Cost:
    """Start the server of that checkout and load it."""
    begun = time.perf_counter()
    with serving(checkout, folder / "log") as address:
        wait(lambda: is_ready(address, "convnet"), f"{checkout} serves; see {folder / 'log'}")
        start = time.perf_counter() - begun
        target = Target("triton", "convnet", "binary", address)
        target.measure(8, 1, folder)  # warms up
        return Cost(start, *(target.measure(connections, SECONDS, folder).rate for connections in (1, 32)))


def main() -> None:
    """Run all rounds and report."""
    install()
    order = dict(zip(("before", "now"), map(Path, sys.argv[1:]), strict=True))
    rounds: dict[str, list[Cost]] = {"now": [], "before": []}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(ROUNDS):
            for name in order if number % 2 == 0 else reversed(order):
                rounds[name].append(round_of(order[name], Path(folder)))
                print(f"round {number + 1}, {name}: {rounds[name][-1]}", flush=True)
    now, before = (Cost(*map(median, zip(*rounds[name], strict=True))) for name in ("now", "before"))
    bars = [
        Bar("start until ready", now.start, "s"),
        Bar("the same, as a part of the other checkout's", now.start / before.start, "of it", 1.1),
        Bar("requests over one connection", now.alone, "/s"),
        Bar("the same, as a part of the other checkout's", now.alone / before.alone, "of it", 0.95, "more"),
        Bar("requests over 32 connections", now.together, "/s"),
        Bar("the same, as a part of the other checkout's", now.together / before.together, "of it", 0.95, "more"),
    ]
    n = {"rounds": ROUNDS, "seconds": SECONDS}
    sys.exit(not report("serving_cost", bars, n, versions("onnxruntime", "numpy")))


if __name__ == "__main__":
    main()
