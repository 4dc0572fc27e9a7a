"""The faults: kinds, durations, times, targets, and how each is undone.

The bounds are those that the product guarantees to survive:

- the API server and etcd are away for 20 s (tests/cluster/test_faults.py); the node's agent and the controller manager
  for 15 and 25 s, less than the 50 s after which an unresponsive node counts as lost and its pods as unready
  (trainserve.dev.controlplane.NODE_GRACE); the operator, the scheduler and a training process are paused for 40 s;
- a server, its launcher or its probe is paused for 8 s: five failed liveness probes in a row end the container, and a
  caller's deadline is 30 s. A ModelServe is not hit twice within a minute, nor while one of its two pods is unready;
- the death of a training process uses up one of its job's 3 retries, and so does a full store (`StoreError`); the same
  error twice in a row, the second within a minute, ends the job (docs/contracts.md). Therefore a process is killed at
  most once per job, and the store is not filled while a job runs that has failed from a full store before.

Like a kubelet or systemd, this module restarts every component that is killed or ends by itself.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from bench.chaos.scene import Scene
from trainserve.api.reasons import Retry, retry_after
from trainserve.dev.agent.records import PodFolder
from trainserve.dev.kube import Refused
from trainserve.dev.process import StillRunning
from trainserve.dev.run import ClusterError

DAY = 86_400
LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
SUPERVISE_SECONDS, REST_SECONDS = 1.0, 60.0
Bounds = tuple[float, float]
"""Minimum and maximum duration in seconds, of a fault or of a pause."""

CONTROL: Mapping[str, Bounds] = {
    "kill operator": (0, 5),
    "kill agent": (0, 5),
    "kill apiserver": (0, 12),
    "kill etcd": (0, 5),
    "kill controller-manager": (0, 10),
    "kill scheduler": (0, 10),
    "pause operator": (1, 40),
    "pause agent": (1, 15),
    "pause apiserver": (1, 20),
    "pause etcd": (1, 20),
    "pause controller-manager": (1, 25),
    "pause scheduler": (1, 40),
    "clock of operator": (10, 40),
    "cut operator from API server": (0, 20),
}
TRAINERS: Mapping[str, Bounds] = {"kill trainer": (0, 0), "pause trainer": (1, 40)}
SERVERS: Mapping[str, Bounds] = {
    "kill tritonserver": (0, 0),
    "kill launcher": (0, 0),
    "kill probe": (0, 0),
    "pause tritonserver": (1, 8),
    "pause launcher": (1, 8),
    "pause probe": (1, 8),
    "cut callers": (0, 0),
}
STORE: Mapping[str, Bounds] = {"fill store": (1, 6)}
LANES: tuple[tuple[Mapping[str, Bounds], Bounds], ...] = (
    (CONTROL, (5, 12)),
    (TRAINERS, (5, 20)),
    (SERVERS, (5, 20)),
    (STORE, (40, 90)),
)
"""Lanes run concurrently; the faults of one lane run one after another, with pauses within these bounds."""
KNOWN = tuple(name for bounds, _ in LANES for name in bounds)


class Fault(NamedTuple):
    """A fault to inject."""

    name: str
    seconds: float
    offset: int
    """Shift of the clock in seconds, for faults of the clock."""


@dataclass(frozen=True)
class Happened:
    """An injected fault: its target (`victim`), start and end (monotonic, in seconds)."""

    name: str
    victim: str
    began: float
    ended: float


class NobodyThere(Exception):
    """The fault has no possible target now; the message says why."""


def deck(chance: random.Random, bounds: Mapping[str, Bounds]) -> Iterator[Fault]:
    """Yield faults endlessly, in a random order in which all occur about equally often."""
    while True:
        for name in chance.sample(sorted(bounds), len(bounds)):
            yield Fault(name, chance.uniform(*bounds[name]), chance.randint(-DAY, DAY))


class Faults:
    """Injects faults, each lane in a thread, from `start` until `stop`."""

    def __init__(self, scene: Scene, seed: int) -> None:
        self._scene, self._seed = scene, seed
        self._over = threading.Event()
        self._killed: set[str] = set()
        self._hit: dict[str, float] = {}
        self.happened: list[Happened] = []
        self.skipped: Counter[str] = Counter()
        self.revived: Counter[str] = Counter()
        """Number of restarts by component, of components that ended by themselves."""
        self._threads = [
            threading.Thread(target=self._lane, args=(number, bounds, gaps), daemon=True)
            for number, (bounds, gaps) in enumerate(LANES)
        ]

    def start(self) -> None:
        """Start all lanes."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop all lanes. Returns once the last fault is undone and every component runs."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        self.supervise()

    def supervise(self) -> None:
        """Restart components that have ended, as a kubelet would."""
        for name, status in self._scene.cluster.status().items():
            if status.state == "died":
                self.revived[name] += 1
                print(f"{self._scene.clock()} {name} had ended", flush=True)
                with contextlib.suppress(ClusterError, StillRunning):  # retried a second later
                    self._scene.cluster.start(name)

    def _lane(self, number: int, bounds: Mapping[str, Bounds], gaps: Bounds) -> None:
        chance = random.Random(f"{self._seed} {number}")
        for fault in deck(chance, bounds):
            if self._rest(chance.uniform(*gaps), supervising=bounds is CONTROL):
                return
            began, victim = time.monotonic(), ""
            try:
                victim = self._happen(fault, chance)
            except (NobodyThere, Refused, OSError, psutil.Error) as error:
                self.skipped[fault.name] += 1
                print(f"{self._scene.clock()} {fault.name}: not now: {error}"[:150], flush=True)
                continue
            except (ClusterError, StillRunning) as error:  # `supervise` restarts the component
                print(f"{self._scene.clock()} {fault.name}: {error}", flush=True)
            self.happened.append(Happened(fault.name, victim, began, time.monotonic()))
            lasted = time.monotonic() - began
            print(f"{self._scene.clock()} {fault.name} {victim}, over after {lasted:.1f} s", flush=True)

    def _rest(self, seconds: float, *, supervising: bool) -> bool:
        """Wait for `seconds`; return whether `stop` was called meanwhile."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._over.wait(min(left, SUPERVISE_SECONDS)):
            if supervising:
                self.supervise()
        return self._over.is_set()

    def _happen(self, fault: Fault, chance: random.Random) -> str:
        """Inject the fault and undo it; return its target."""
        what, _, whom = fault.name.partition(" ")
        if fault.name == "clock of operator":
            return self._clock(fault)
        if fault.name == "cut operator from API server":
            return f"{self._scene.cut_operator(fault.seconds)} connections"
        if fault.name == "cut callers":
            serve = chance.choice(self._scene.serves)
            return f"{serve}, {self._scene.cut_callers(serve)} connections"
        if fault.name == "fill store":
            return self._fill(fault.seconds)
        if whom == "trainer":
            return self._signal(what, fault.seconds, *self._trainer(what, chance))
        if fault.name in SERVERS:
            return self._signal(what, fault.seconds, *self._server(whom, chance))
        if what == "kill":
            return self._restart(whom, fault.seconds)
        status = self._scene.cluster.status()[whom]
        if status.state != "running" or status.pid is None:
            raise NobodyThere(f"{whom} has ended")
        return self._signal(what, fault.seconds, psutil.Process(status.pid), "")

    def _restart(self, component: str, seconds: float) -> str:
        self._scene.cluster.kill(component)
        time.sleep(seconds)
        self._scene.cluster.start(component)
        return ""

    def _clock(self, fault: Fault) -> str:
        if LIBRARY is None:
            raise NobodyThere("libfaketime is not installed")
        skewed = {"LD_PRELOAD": str(LIBRARY), "FAKETIME": f"{fault.offset:+d}s", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        try:
            with _environment(skewed):  # no other lane starts programs
                self._restart("operator", 0)
            time.sleep(fault.seconds)
        finally:
            self._restart("operator", 0)
        return f"by {fault.offset:+d} s"

    def _signal(self, what: str, seconds: float, process: psutil.Process, victim: str) -> str:
        if what == "kill":
            process.kill()
        else:
            process.suspend()
            try:
                time.sleep(seconds)
            finally:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.resume()
        return victim

    def _fill(self, seconds: float) -> str:
        if not self._scene.small:
            raise NobodyThere("no small file system can be mounted here")
        for job in self._scene.jobs_going_on():
            if any(attempt.get("reason") == "StoreError" for attempt in _attempts(job)):
                raise NobodyThere(f"it has failed {job['metadata']['name']} before")
        filler = self._scene.cluster.store / ".filler"
        try:
            _fill_up(filler)
            time.sleep(seconds)
        finally:
            filler.unlink(missing_ok=True)
        return ""

    def _trainer(self, what: str, chance: random.Random) -> tuple[psutil.Process, str]:
        """Choose a training process that may be killed or paused; return it and its job. Raises NobodyThere."""
        jobs = {job["metadata"]["name"]: job for job in self._scene.jobs_going_on()}
        candidates = []
        for pod in self._scene.pods("trainjob"):
            name = pod["metadata"]["labels"]["trainserve.io/trainjob"]
            spared = name not in jobs or name in self._killed or _counted(jobs[name])
            if pod["status"].get("phase") == "Running" and not (what == "kill" and spared):
                candidates.append((name, pod))
        if not candidates:
            raise NobodyThere("no job trains that it could happen to")
        name, pod = chance.choice(candidates)
        process = self._main(pod["metadata"]["uid"], "trainer")
        if what == "kill":
            self._killed.add(name)
        return process, name

    def _server(self, whom: str, chance: random.Random) -> tuple[psutil.Process, str]:
        """Choose a server, launcher or probe of a ModelServe that has another ready pod. Raises NobodyThere."""
        now = time.monotonic()
        rested = [name for name in self._scene.serves if now - self._hit.get(name, 0.0) > REST_SECONDS]
        ready = {name: self._scene.ready_pods(name) for name in rested}
        if not (enough := [name for name, pods in ready.items() if len(pods) > 1]):
            raise NobodyThere("no ModelServe has rested and has two pods that are ready")
        name = chance.choice(enough)
        pod = chance.choice(ready[name])
        process = self._main(pod["metadata"]["uid"], "probe" if whom == "probe" else "triton")
        if whom == "tritonserver":
            below = [child for child in process.children(recursive=True) if child.name() == "tritonserver"]
            if not below:
                raise NobodyThere(f"{pod['metadata']['name']} has no server now")
            (process,) = below
        self._hit[name] = now
        return process, pod["metadata"]["name"]

    def _main(self, uid: str, container: str) -> psutil.Process:
        """Return the main process of a container, as recorded by the node's agent. Raises NobodyThere."""
        folder = PodFolder(self._scene.cluster.directory / "pods" / uid)
        for attempt in reversed(folder.attempts(container)):
            if attempt.started_at() is not None and not attempt.ended():
                return psutil.Process(json.loads((attempt.folder / "started.json").read_text())["pid"])
        raise NobodyThere(f"{container} does not run")


def _attempts(job: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list((job.get("status") or {}).get("attempts") or [])


def _counted(job: Mapping[str, Any]) -> int:
    """Return the number of retries that a running job has used up."""
    reasons = [attempt.get("reason") for attempt in _attempts(job)]
    return sum(reason is not None and retry_after(reason) is not Retry.FREE for reason in reasons)


def _fill_up(path: Path) -> None:
    """Write to `path` until its file system is full."""
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            try:
                while True:
                    file.write(bytes(size))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set these environment variables within the block only."""
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values:
            del os.environ[name]
