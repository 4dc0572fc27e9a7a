"""`trainserve serve` of one checkout compared with another's: the time until it is ready, and requests per second.

Both serve the zoo's convnet, each from its own `.venv` with its own guard. The starts take turns; then both servers are
up at once and are loaded in turn, round after round, by wrk on the same cores: one image a request, binary form over
HTTP, over 1 and 32 connections.

Run with `python -m bench.serving_cost BEFORE NOW`, the folders of both. Figures are medians.
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

from bench import zoo
from bench.pauses import wait
from bench.report import Bar, report, versions
from bench.targets import Target
from bench.wrk import install
from trainserve.serving.protocol.control import is_ready

STARTS, ROUNDS, SECONDS = 5, 20, 2
CONNECTIONS = (1, 32)
PORTS = {"before": (18600, 18601, 18602), "now": (18610, 18611, 18612)}


@contextlib.contextmanager
def started(name: str, checkout: Path, folder: Path) -> Iterator[str]:
    """Run `trainserve serve` of that checkout until the block ends; yields its address once the model is ready."""
    address, log = f"127.0.0.1:{PORTS[name][0]}", folder / name
    command = [str(checkout.absolute() / ".venv" / "bin" / "trainserve"), "serve", str(zoo.exported("convnet"))]
    for option, port in zip(("http", "grpc", "metrics"), PORTS[name], strict=True):
        command += [f"--{option}-port", str(port)]
    with log.open("ab") as out, subprocess.Popen(command, stdout=out, stderr=out) as process:
        try:
            wait(lambda: is_ready(address, "convnet"), f"{checkout} serves; see {log}")
            yield address
        finally:
            process.terminate()


def seconds_to_start(name: str, checkout: Path, folder: Path) -> float:
    """Start the server of that checkout twice; return the seconds until the second is ready.

    The first start installs the checkout's ONNX backend in a cache that all checkouts share.
    """
    with started(name, checkout, folder):
        pass
    begun = time.perf_counter()
    with started(name, checkout, folder):
        return time.perf_counter() - begun


def main() -> None:
    """Take turns and report."""
    install()
    order = dict(zip(PORTS, map(Path, sys.argv[1:]), strict=True))
    starts: dict[str, list[float]] = {name: [] for name in order}
    rates: dict[tuple[str, int], list[float]] = {(name, many): [] for name in order for many in CONNECTIONS}
    with tempfile.TemporaryDirectory() as told, contextlib.ExitStack() as stack:
        folder = Path(told)
        for number in range(STARTS):
            for name in order if number % 2 == 0 else reversed(order):
                starts[name].append(seconds_to_start(name, order[name], folder))
        addresses = {name: stack.enter_context(started(name, order[name], folder)) for name in order}
        for number in range(ROUNDS + 1):  # the first warms up
            for name in order if number % 2 == 0 else reversed(order):
                for many in CONNECTIONS:
                    seen = Target("triton", "convnet", "binary", addresses[name]).measure(many, SECONDS, folder)
                    rates[name, many] += [seen.rate] if number else []
    bars = [
        Bar("start until ready", median(starts["now"]), "s"),
        Bar(
            "the same, as a part of the other checkout's",
            median(starts["now"]) / median(starts["before"]),
            "of it",
            1.1,
        ),
    ]
    for many in CONNECTIONS:
        now, before = (median(rates[name, many]) for name in ("now", "before"))
        bars += [
            Bar(f"requests, connections: {many}", now, "/s"),
            Bar("the same, as a part of the other checkout's", now / before, "of it", 0.95, "more"),
        ]
    n = {"starts": STARTS, "rounds": ROUNDS, "seconds": SECONDS}
    sys.exit(not report("serving_cost", bars, n, versions("onnxruntime", "numpy")))


if __name__ == "__main__":
    main()
