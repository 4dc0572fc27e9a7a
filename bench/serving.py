"""Speed of requests: ours through Triton, beside models that do nothing (the server's ceiling), a plain onnxruntime
loop (the limit), FastAPI + onnxruntime, MLServer and KServe's Python server.

The models are the zoo's with random weights, exported as a run exports them: the convnet (28x28x1, one onnxruntime
thread) and ResNet-50 (224x224x3, as many threads as cores). One image a request. Over HTTP wrk is the client of all;
over gRPC it is trainserve.serving.load, serialized messages through grpcio. Clients run on the same cores. All servers
are up at once and are asked in turn, round after round; the median of the rounds is reported. What the goals are about
is measured in every round, the rest in every second one. `raw` is FastAPI's own fastest form: bytes without a header,
once with uvicorn's asyncio and h11 and once with uvloop and httptools. The server's guard is left away but for the
rows that tell its cost. Three models do nothing: the no-op, of the python backend as NVIDIA's examples are, looks at
no input and makes a tensor for each answer; `idle` does not even that; the empty graph goes the convnet's own way.

Where a request's time goes at concurrency 32, in batches of 16 on 2 cores of a Xeon, us of CPU each: 27 Triton's HTTP
thread, 4 its batcher's thread, 17 its instance's thread, 4 wrk. Of the instance's, nearly all is onnxruntime. Of the
server's samples (perf) 35 % are onnxruntime's, 0.3 % this backend's, 6 % the core's and 37 % are the kernel's, whose
HTTP thread is woken through a socket for each answer. So both cores are busy, and a graph that computes nothing is
answered 1.07 to 1.25 times as often, by the hour. At concurrency 1 a request takes 290 us, 190 of them onnxruntime's,
which takes 170 in a loop whose caches stay warm; a no-op takes 210 in a process of its own and an empty graph 100 in
the server's. Tried without a gain, n = 5: two HTTP threads, two instances, both (5 to 35 % less at 8 and 32), the
instance's thread on a core of its own (--host-policy: 22 % more at 1, 6 to 20 % less at 8 and 32).

Until the backend was C++ in the server's own process (devserver/devserver/backend/onnxruntime) it was a program of the
python backend. One run of both, interleaved, n = 4, requests/s at concurrency 1, 8, 32: 2,112, 7,833, 15,200 then and
3,346, 17,051, 33,535 now. What went: shared memory that each tensor was copied through, Python's objects, and two
wake-ups of one process by another for each batch, during which the cores idled for a third of the time.
Tried then, without a gain that could be told from noise: io_binding, onnxruntime's arena, memory pattern and memory
reuse switched off, its parallel mode, huge pages, malloc's tunables, Triton's PRIORITY_MAX. ResNet-50 whose threads do
not spin takes 10 % longer through the server on two free cores, and a third as long where others use them too: the
default stays. Images become planes before they are normalised (models/network.py), which saves 14 us each.

Run with `make bench`; `python -m bench.serving --rounds 2 --seconds 1` for a look, which writes nothing.
Figures of one run are comparable with one another; the machines are shared.
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
