"""Pauses of the leader of two operator replicas by SIGSTOP: checks that no job is lost or trained twice after SIGCONT.

Ten rounds of ten TrainJobs. In each, the holder of the Lease is stopped for 10 to 60 s while its jobs start, run and
end, and is then continued. The API server is real; this program writes the pods' states as a kubelet would. A replica
that ends is restarted, as its Deployment would.

Run with `python -m bench.pauses`.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.report import Bar, report, versions
from trainserve.dev import binaries
from trainserve.dev.cluster import CHART, Cluster
from trainserve.dev.kube import ApiError, Client, Object

ROUNDS, JOBS, PAUSES = 10, 10, (10.0, 60.0)
HANG = 180.0
LEASE = "trainserve-operator"
SYSTEM = "default"
"""Namespace of the Lease."""
_START = """
import sys
from trainserve.operator import lease
for name, value in {times}.items():
    setattr(lease, name, value)
from kopf.cli import main
sys.argv = ["kopf", "run", "-m", "trainserve.operator.main", "--all-namespaces"]
main()
"""


@dataclass
class Replicas:
    """Processes of the operator, one of which leads. `python` runs them; `times` replaces constants of the Lease."""

    kubeconfig: Path
    folder: Path
    times: Mapping[str, float] = field(default_factory=dict)
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)
    ended: int = 0
    python: str = sys.executable
    metrics: str = ""
    """URL of the newest replica's metrics."""

    def keep(self, count: int = 2) -> None:
        """Start replicas in place of those that ended, so that `count` run."""
        alive = [process for process in self.running if process.poll() is None]
        self.ended += len(self.running) - len(alive)
        self.running = alive + [self._start() for _ in range(count - len(alive))]

    def holder(self, client: Client) -> int | None:
        """Return the process id of the replica that holds the Lease; None if there is none or it has ended."""
        try:
            spec = client.get("Lease", LEASE, SYSTEM).get("spec") or {}
        except ApiError:
            return None
        pid = int((spec.get("holderIdentity") or "_0").rpartition("_")[2])
        return pid if any(process.pid == pid and process.poll() is None for process in self.running) else None

    def stop(self) -> None:
        """Stop the replicas, including paused ones."""
        for process in self.running:
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self.running:
            process.wait(30)

    def _start(self) -> subprocess.Popen[bytes]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.metrics = f"127.0.0.1:{free.getsockname()[1]}"
        environment = os.environ | {
            "KUBECONFIG": str(self.kubeconfig),
            "TRAINSERVE_STORE": "file:///srv/models",
            "TRAINSERVE_METRICS_ADDRESS": self.metrics,
            "TRAINSERVE_LEASE_NAMESPACE": SYSTEM,
        }
        with (self.folder / "operators.log").open("ab") as log:
            command = [self.python, "-c", _START.format(times=dict(self.times))]
            return subprocess.Popen(command, env=environment, stdout=log, stderr=log)


class Kubelet(threading.Thread):
    """Simulates a kubelet: starts the pods of a namespace, and lets each succeed after `seconds` (minimum, maximum)."""

    def __init__(self, client: Client, namespace: str, seconds: tuple[float, float]) -> None:
        super().__init__(daemon=True)
        self._client, self._namespace, self._seconds = client, namespace, seconds
        self._due: dict[str, float] = {}
        self._over = threading.Event()
        self.seen: dict[str, str] = {}
        """Job names by pod uid."""

    def run(self) -> None:
        """Simulate pods until `stop` is called."""
        while not self._over.wait(0.1):
            for pod in self._client.list("Pod", self._namespace):
                self._act(pod)

    def stop(self) -> None:
        """Stop the simulation."""
        self._over.set()
        self.join()

    def _act(self, pod: Object) -> None:
        uid, job = pod["metadata"]["uid"], pod["metadata"]["labels"]["trainserve.io/trainjob"]
        self.seen[uid] = job
        phase, now = pod.get("status", {}).get("phase"), time.monotonic()
        if phase in (None, "Pending"):
            self._due[uid] = now + random.uniform(*self._seconds)
            self._set(pod, {"phase": "Running", "podIP": "127.0.0.1"})
        elif phase == "Running" and now >= self._due.get(uid, 0.0):
            artifact = {
                "uri": f"file:///srv/models/{self._namespace}/{job}/1",
                "version": 1,
                "digest": "sha256:" + "ab" * 32,
                "bytes": 1000,
                "opset": 18,
            }
            finished = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            message = json.dumps({"outcome": "Published", "result": {"accuracy": 0.97}, "artifact": artifact})
            end = {"exitCode": 0, "reason": "Completed", "message": message, "finishedAt": finished}
            container = {"name": "trainer", "state": {"terminated": end}}
            self._set(pod, {"phase": "Succeeded", "containerStatuses": [container]})

    def _set(self, pod: Object, status: dict[str, Any]) -> None:
        try:
            name = pod["metadata"]["name"]
            self._client.patch("Pod", name, {"status": status}, self._namespace, subresource="status")
        except ApiError as error:
            if error.status != 404:
                raise


@dataclass
class Counts:
    """Counts over the jobs of all rounds."""

    jobs: int = 0
    complete: int = 0
    failed: int = 0
    """Number of jobs with Failed=True, whatever their other conditions."""
    again: int = 0
    """Number of jobs with a second attempt or a second pod."""
    told: list[str] = field(default_factory=list)
    """Descriptions of the jobs for which something is wrong."""


def play(client: Client, replicas: Replicas, jobs: int, pause: float, counts: Counts) -> None:
    """Run one round in its own namespace, with a pause of `pause` seconds, and add its outcome to `counts`."""
    namespace = f"pauses-{counts.jobs}"
    make_namespace(client, namespace)
    wait(lambda: replicas.holder(client), "a replica holds the lease")
    kubelet = Kubelet(client, namespace, (0.3, 6.0))
    kubelet.start()
    spec = {"model": {"name": "convnet"}, "dataset": {"name": "digits"}}
    for number in range(jobs):
        job: Object = {"metadata": {"name": f"job-{number}", "namespace": namespace}}
        client.create("TrainJob", job | {"spec": spec | {"output": {"model": f"job-{number}"}}})
        time.sleep(0.1)
    time.sleep(random.uniform(0.0, 2.0))
    holder = replicas.holder(client)
    assert holder is not None
    os.kill(holder, signal.SIGSTOP)
    time.sleep(pause)
    os.kill(holder, signal.SIGCONT)
    # Within this time, the resumed replica has either noticed its pause or done what it still does.
    time.sleep(5 * replicas.times.get("RETRY_EVERY", 1.0))

    def is_over() -> bool:
        replicas.keep()
        return not going_on(client, namespace)

    wait(is_over, "every job is over")
    time.sleep(2.0)
    replicas.keep()
    kubelet.stop()
    _count(client.list("TrainJob", namespace), Counter(kubelet.seen.values()), counts)


def make_namespace(client: Client, name: str) -> None:
    """Create a namespace with the ServiceAccount that pods need, which no controller creates here."""
    client.create("Namespace", {"metadata": {"name": name}})
    client.create("ServiceAccount", {"metadata": {"name": "default", "namespace": name}})


def going_on(client: Client, namespace: str) -> list[str]:
    """Return the names of the jobs that have not ended."""
    jobs = client.list("TrainJob", namespace)
    return [job["metadata"]["name"] for job in jobs if not _true(job) & {"Complete", "Failed"}]


def _count(jobs: list[Object], pods: Counter[str], counts: Counts) -> None:
    for job in jobs:
        name, held = job["metadata"]["name"], _true(job)
        attempts = [attempt.get("reason") for attempt in job["status"].get("attempts") or []]
        twice = len(attempts) > 1 or pods[name] > 1
        counts.jobs += 1
        counts.complete += "Complete" in held
        counts.failed += "Failed" in held
        counts.again += twice
        if "Complete" not in held or "Failed" in held or twice:
            counts.told.append(f"{name}: {sorted(held)}, attempts {attempts}, {pods[name]} pods")


def _true(job: Any) -> set[str]:
    known = (job.get("status") or {}).get("conditions") or []
    return {condition["type"] for condition in known if condition["status"] == "True"}


def wait(until: Callable[[], Any], what: str) -> None:
    """Wait until `until` holds. Raises SystemExit after 180 s."""
    give_up = time.monotonic() + HANG
    while not until():
        if time.monotonic() > give_up:
            raise SystemExit(f"waited {HANG:.0f} s in vain until {what}")
        time.sleep(0.1)


@contextlib.contextmanager
def api_server() -> Iterator[tuple[Client, Path]]:
    """Run an API server with TrainServe's CRDs and no controllers; yield an administrator's client and kubeconfig."""
    with tempfile.TemporaryDirectory(prefix="trainserve-bench-") as folder:
        cluster = Cluster(Path(folder))
        try:
            cluster.up("apiserver")
            kubectl = [str(binaries.kubectl()), "--kubeconfig", str(cluster.kubeconfig)]
            crds = str(CHART / "files" / "crds")
            subprocess.run([*kubectl, "apply", "--validate=false", "-f", crds], check=True)
            subprocess.run([*kubectl, "wait", "--for=condition=Established", "-f", crds], check=True)
            yield Client(cluster.kubeconfig, seconds=120.0), cluster.kubeconfig
        finally:
            cluster.down()


def main() -> None:
    """Run all rounds on a new API server, and report."""
    random.seed(0)
    counts = Counts()
    with api_server() as (client, kubeconfig):
        replicas = Replicas(kubeconfig, kubeconfig.parent)
        try:
            replicas.keep()
            for number in range(ROUNDS):
                pause = random.uniform(*PAUSES)
                play(client, replicas, JOBS, pause, counts)
                print(f"round {number + 1}: paused {pause:.0f} s; {counts}", flush=True)
        finally:
            replicas.stop()
    bars = [
        Bar("jobs that are Complete", counts.complete, "", ROUNDS * JOBS, "more"),
        Bar("jobs with Failed=True", counts.failed, "", 0),
        Bar("jobs trained twice", counts.again, "", 0),
        Bar("replicas that ended and were started anew", replicas.ended, ""),
    ]
    sys.exit(not report("pauses", bars, {"rounds": ROUNDS, "jobs": JOBS}, versions("kopf", "kubernetes")))


if __name__ == "__main__":
    main()
