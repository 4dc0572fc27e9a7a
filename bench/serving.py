"""Speed of requests: ours through Triton, compared with trivial models (the server's ceiling), a plain onnxruntime loop
(the upper bound), FastAPI + onnxruntime, MLServer and KServe's Python server.

The models are the zoo's with random weights, exported as by a run: the convnet (28x28x1, one onnxruntime thread) and
ResNet-50 (224x224x3, as many threads as cores). Each request has one image. The client is wrk for all HTTP servers, and
trainserve.serving.load (serialized messages through grpcio) for gRPC; clients run on the same cores. All servers run at
once and are measured in turn, round after round; the median of the rounds is reported. Loads with goals are measured in
every round, others in every second one. `raw` is FastAPI's fastest form: bytes without a header, once with uvicorn's
asyncio and h11, and once with uvloop and httptools. The server's guard is disabled except in the rows that show its
cost. Three models do nothing: the no-op, of the python backend like NVIDIA's examples, ignores its input and creates a
tensor for each response; `idle` does not even create one; the empty graph takes the same path as the convnet.

CPU time per request at concurrency 32, in batches of 16 on 2 cores of a Xeon, in us: 27 in Triton's HTTP thread, 4 in
its batcher's thread, 17 in its instance's thread (nearly all of it onnxruntime), 4 in wrk. Of the server's samples
(perf), 35 % are in onnxruntime, 0.3 % in this backend, 6 % in Triton's core, and 37 % in the kernel, which wakes the
HTTP thread through a socket for each response. Both cores are thus busy, and a graph that computes nothing reaches 1.07
to 1.25 times the rate, depending on the hour. At concurrency 1, a request takes 290 us, of which onnxruntime takes 190,
compared with 170 in a loop with warm caches; a no-op takes 210 in its own process, and an empty graph 100 in the
server's. Tried without gain, n = 5: two HTTP threads, two instances, both (5 to 35 % less at 8 and 32), and a dedicated
core for the instance's thread (--host-policy: 22 % more at 1, 6 to 20 % less at 8 and 32).

Before the backend was C++ in the server's own process (devserver/devserver/backend/onnxruntime), it was a program of
the python backend. In one interleaved run of both, n = 4, requests/s at concurrency 1, 8, 32 were 2,112, 7,833, 15,200
before and 3,346, 17,051, 33,535 after. The change removed shared memory through which each tensor was copied, Python
objects, and two wake-ups between processes per batch, during which the cores idled for a third of the time.
Tried then, without a gain beyond noise: io_binding, onnxruntime's arena, memory pattern and memory reuse disabled, its
parallel mode, huge pages, malloc's tunables, Triton's PRIORITY_MAX. Without spinning threads, ResNet-50 takes 10 %
longer through the server on two free cores, but a third of the time if other processes use the cores, too; the default
is kept. Images are converted to planes before they are normalised (models/network.py), which saves 14 us per image.

Run with `make bench`, or with `python -m bench.serving --rounds 2 --seconds 1` for a quick run, which writes nothing.
Compare only figures of the same run, since the machines are shared.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import median

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
import psutil

from bench import zoo
from bench.peers.environment import FASTAPI, KSERVE, MLSERVER
from bench.report import Bar, report, versions
from bench.targets import EMPTY, Target, picture, running
from bench.wrk import Figures, install
from trainserve.serving.devserver import runtime
from trainserve.serving.devserver.server import DevelopmentServer
from trainserve.serving.repository import repository
from trainserve.serving.repository.settings import Settings
from trainserve.serving.sources.source import open_servable

ROUNDS, SECONDS = 7, 1
LARGE_SECONDS = 3
"""Seconds of a load on ResNet-50, which answers a few dozen requests per second."""
PEERS = ("fastapi", "fastapi + uvloop", "kserve", "mlserver")


class Loop:
    """Plain onnxruntime in a loop in this process: the upper bound for every server."""

    def __init__(self, model: str, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        self._session = onnxruntime.InferenceSession(zoo.exported(model), options, providers=["CPUExecutionProvider"])
        self._image = picture(model)

    def figures(self, batch: int, seconds: float) -> Figures:
        """Return images per second, and percentiles of a run's latency."""
        given = {"images": self._image.repeat(batch, axis=0)}
        self._session.run(None, given)
        times: list[float] = []
        begun = last = time.perf_counter()
        while last < begun + seconds:
            self._session.run(None, given)
            times.append((now := time.perf_counter()) - last)
            last = now
        p50, p99 = np.percentile(times, (50, 99)) * 1e3
        return Figures(batch * len(times) / (last - begun), p50, p99)


def processes(server: DevelopmentServer) -> list[psutil.Process]:
    """Return the processes of Triton and of its backends."""
    assert server.process is not None
    return psutil.Process(server.process.pid).children(recursive=True)


def cpu_seconds(server: DevelopmentServer) -> float:
    """Return the CPU seconds, user and system, that the server and its backends have used so far."""
    return sum(sum(process.cpu_times()[:2]) for process in processes(server))


def server_mib(folder: Path, model: str) -> tuple[float, float]:
    """Return resident and proportional set size (MiB) of a server with one instance of one model.

    They are read after a load of concurrency 8.
    """
    entry = repository.Entry(model, open_servable(str(zoo.exported(model))), Settings())
    models = folder / f"only-{model}"
    repository.write([entry], models)
    command, quick = runtime.install(), "--disable-auto-complete-config"
    with DevelopmentServer(command, models, folder / f"only-{model}.log", quick, guard=False) as server:
        Target("triton", model, "binary", server.url).measure(8, 2, folder)
        (triton,) = processes(server)
        memory = triton.memory_full_info()
        return memory.rss / 2**20, memory.pss / 2**20


class Measured:
    """Results of all rounds, by row name."""

    def __init__(self) -> None:
        self.loads: dict[str, list[Figures]] = defaultdict(list)
        self.values: dict[str, list[float]] = defaultdict(list)

    def rate(self, row: str) -> float:
        """Return the median over the rounds of a load's requests per second."""
        return median(figures.rate for figures in self.loads[row])

    def p50(self, row: str) -> float:
        """Return the median over the rounds of a load's median latency, in ms."""
        return median(figures.p50 for figures in self.loads[row])

    def p99(self, row: str) -> float:
        """Return the median over the rounds of a load's 99th percentile of latency, in ms."""
        return median(figures.p99 for figures in self.loads[row])


def row(target: Target, concurrency: int) -> str:
    """Return a load's name."""
    return f"{target.model} {target.system} {target.form} c={concurrency}"


def measure(folder: Path, rounds: int, seconds: int) -> Measured:
    """Measure `rounds` rounds after a warm-up round, which is discarded."""
    measured = Measured()
    small, large = Loop("convnet", 1), Loop("resnet50", os.cpu_count() or 1)
    with running(folder) as (ours, targets):
        for number in range(rounds + 1):
            if number == 1:
                measured = Measured()
            for concurrency in (1, 8, 32):
                for target in targets:
                    if concurrency in target.concurrency and (target.often or number % 2 == 1):
                        _load(measured, ours, target, concurrency, seconds, folder)
            for batch in (1, 32):
                measured.loads[f"convnet in a loop, batch {batch}"].append(small.figures(batch, seconds / 2))
            measured.loads["resnet50 in a loop, batch 1"].append(large.figures(1, LARGE_SECONDS))
    for model in zoo.SHAPES:
        for kind, size in zip(("RSS", "PSS"), server_mib(folder, model), strict=True):
            measured.values[f"server with one {model} instance, {kind}"].append(size)
    return measured


def _load(
    measured: Measured, ours: DevelopmentServer, target: Target, concurrency: int, seconds: int, folder: Path
) -> None:
    seconds = LARGE_SECONDS if target.model == "resnet50" else seconds
    begun = cpu_seconds(ours)
    figures = target.measure(concurrency, seconds, folder)
    name = row(target, concurrency)
    measured.loads[name].append(figures)
    if target.address in (ours.url, ours.grpc_url):
        used = cpu_seconds(ours) - begun
        measured.values[f"{name} CPU"].append(used / (figures.rate * seconds) * 1e4)


def goals(measured: Measured) -> list[Bar]:
    """Return the figures with goals; the goals are those of issue 4, for two cores."""
    ours = "convnet triton binary c={}"
    peers = [name for name in measured.loads if name.startswith(tuple(f"convnet {peer} " for peer in PEERS))]
    peers = [name for name in peers if name.endswith(" c=32")]
    fastest, calmest = max(peers, key=measured.rate), min(peers, key=measured.p99)
    # By medians of single requests, so that a second lost to other load on the machine does not count.
    overhead = measured.p50("resnet50 triton binary c=1") / measured.p50("resnet50 in a loop, batch 1") - 1
    rate, p99 = measured.rate(ours.format(32)), measured.p99(ours.format(32))
    return [
        Bar("convnet c=32: triton / no-op", rate / measured.rate("convnet no-op binary c=32"), "", 0.9, "more"),
        Bar("convnet c=32: triton / idle", rate / measured.rate("convnet idle binary c=32"), "", 0.9, "more"),
        Bar(f"convnet c=32: triton / {EMPTY}", rate / measured.rate(f"convnet {EMPTY} binary c=32"), ""),
        Bar(f"convnet c=32: triton / {fastest[8:-5]}, the fastest peer", rate / measured.rate(fastest), "", 4, "more"),
        Bar("convnet c=32: triton / fastapi raw", rate / measured.rate("convnet fastapi raw c=32"), "", 4, "more"),
        Bar(f"convnet c=32: p99 triton / {calmest[8:-5]}, the best peer", p99 / measured.p99(calmest), "", 0.5),
        Bar(
            "convnet c=1: triton / fastapi raw",
            measured.rate(ours.format(1)) / measured.rate("convnet fastapi raw c=1"),
            "",
            1,
            "more",
        ),
        Bar("resnet50 c=1: triton over the plain loop", 100 * overhead, "%", 4),
        *(
            Bar(name, median(measured.values[name]), "MiB", goal)
            for name, goal in (
                ("server with one convnet instance, RSS", 110),
                ("server with one resnet50 instance, RSS", None),
            )
        ),
        Bar("convnet c=32: guarded / triton", measured.rate("convnet triton + guard binary c=32") / rate, ""),
    ]


def figures(measured: Measured) -> list[Bar]:
    """Return all figures."""
    bars = []
    for name in measured.loads:
        bars.append(Bar(name, measured.rate(name), "images/s" if " in a loop" in name else "req/s"))
        bars.append(Bar(f"{name} p50", measured.p50(name), "ms"))
        bars.append(Bar(f"{name} p99", measured.p99(name), "ms"))
        if used := measured.values.get(f"{name} CPU"):
            bars.append(Bar(f"{name} CPU of the server", median(used), "s/10,000 requests"))
    for name, values in measured.values.items():
        if "PSS" in name:
            bars.append(Bar(name, median(values), "MiB"))
    return bars


def main() -> bool:
    """Measure, print and write; return whether every goal is reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=int, default=SECONDS, help="of each load")
    given = parser.parse_args()
    install()
    for peer in (FASTAPI, MLSERVER, KSERVE):
        peer.install()
    with tempfile.TemporaryDirectory() as name:
        measured = measure(Path(name), given.rounds, given.seconds)
    used = versions("onnxruntime", "numpy", "grpcio")
    used["server"] = ", ".join((runtime.SERVER, *runtime.PACKAGES[:2]))
    used |= {peer.name: ", ".join(peer.packages) for peer in (FASTAPI, MLSERVER, KSERVE)}
    whole = (given.rounds, given.seconds) == (ROUNDS, SECONDS)
    n = {"rounds": given.rounds, "secondsEach": given.seconds, "secondsEachResNet50": LARGE_SECONDS}
    return report("serving", goals(measured) + figures(measured), n, used, write=whole)


if __name__ == "__main__":
    sys.exit(not main())
