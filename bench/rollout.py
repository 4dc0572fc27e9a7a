"""Number of requests that callers lose while pods of a ModelServe are replaced; the goal is 0.

Three replicas run on a development cluster. Callers send one request after another through the Service, without
retries: over gRPC with a persistent channel, over HTTP with persistent connections, and over HTTP with a new connection
per request. Meanwhile, in turn, another version is rolled out, a setting is changed, every pod is evicted (as by a
drain), the service is scaled to two and back, and another version is rolled out with an outage of the API server of
12 s in the middle. This repeats until each kind of caller has sent 100,000 requests and each change has happened.

Run with `python -m bench.rollout`; it takes up to an hour, and is not part of `make bench`.
"""

from __future__ import annotations

import http.client
import itertools
import json
import multiprocessing
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.path import create, wait
from bench.report import Bar, report, versions
from trainserve.dev import binaries
from trainserve.dev.cluster import Cluster
from trainserve.dev.kube import Client, Refused

WANTED = 100_000
MOST_SECONDS = 3600.0
AWAY_SECONDS = 12.0
CALLERS = {"grpc": 3, "kept": 3, "new": 2}
NAME = "rolled"
SELECTOR = f"trainserve.io/modelserve={NAME}"
IMAGE = np.zeros((1, 28, 28, 1), np.uint8)
_INPUT = {"name": "images", "shape": [1, 28, 28, 1], "datatype": "UINT8", "parameters": {"binary_data_size": 784}}
HEAD = json.dumps({"inputs": [_INPUT], "parameters": {"binary_data_output": True}}).encode()
HEADERS = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(HEAD))}


def over_grpc(host: str) -> Callable[[], None]:
    """Return a function that sends one request over a persistent channel."""
    import tritonclient.grpc as triton  # type: ignore[import-untyped]

    client = triton.InferenceServerClient(f"{host}:8001", channel_args=[("grpc.use_local_subchannel_pool", 1)])
    given = triton.InferInput("images", [1, 28, 28, 1], "UINT8")
    given.set_data_from_numpy(IMAGE)
    return lambda: client.infer(NAME, [given], client_timeout=30)


def over_http(host: str, *, kept: bool) -> Callable[[], None]:
    """Return a function that sends one request, over a persistent connection if `kept`, else over a new one."""
    connection = http.client.HTTPConnection(host, 8000, timeout=30)

    def ask() -> None:
        try:
            connection.request("POST", f"/v2/models/{NAME}/infer", HEAD + IMAGE.tobytes(), HEADERS)
            answer = connection.getresponse()
            answer.read()
        except BaseException:
            connection.close()
            raise
        if not kept:
            connection.close()
        if answer.status != http.client.OK:
            raise OSError(f"status {answer.status}")

    return ask


def call(kind: str, host: str, counted: Any, failures: Any, stop: Any) -> None:
    """Run all callers of one kind, as the body of a process."""
    connect: Callable[[], Callable[[], None]] = {
        "grpc": lambda: over_grpc(host),
        "kept": lambda: over_http(host, kept=True),
        "new": lambda: over_http(host, kept=False),
    }[kind]

    def run() -> None:
        ask = connect()
        while not stop.is_set():
            try:
                ask()
            except Exception as error:
                failures.put((kind, time.time(), f"{type(error).__name__}: {error}"[:200]))
            with counted.get_lock():
                counted.value += 1

    threads = [threading.Thread(target=run) for _ in range(CALLERS[kind])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class Disturbed:
    """The ModelServe under test."""

    def __init__(self, client: Client, cluster: Cluster) -> None:
        self.client, self.cluster = client, cluster
        self.number, self.delay = 1, 0
        """Version in its spec, and queue delay in microseconds."""

    def patch(self, spec: dict[str, Any]) -> None:
        """Change the ModelServe's spec."""
        self.client.patch("ModelServe", NAME, {"spec": spec})

    def settled(self, replicas: int = 3, seconds: float = 240.0) -> None:
        """Wait until all wanted pods serve the newest settings, and no other pods are left."""
        give_up = time.monotonic() + seconds
        while time.monotonic() < give_up:
            try:
                serve = self.client.get("ModelServe", NAME)
                known = {each["type"]: each for each in serve["status"]["conditions"]}
                pods = self.client.list("Pod", selector=SELECTOR)
                if (
                    serve["status"].get("observedGeneration") == serve["metadata"]["generation"]
                    and known["Progressing"]["reason"] == "UpToDate"
                    and serve["status"]["replicas"] == {"desired": replicas, "ready": replicas}
                    and len(pods) == replicas
                ):
                    return
            except (Refused, OSError, KeyError):
                pass
            time.sleep(0.2)
        raise SystemExit(f"{NAME} did not settle: {serve.get('status')}")

    def version(self) -> None:
        """Roll out another version."""
        self._take_the_other_version()
        self.settled()

    def _take_the_other_version(self) -> None:
        self.number = 3 - self.number  # of 1 and 2
        self.patch({"model": {"version": self.number}})

    def setting(self) -> None:
        """Change a setting."""
        self.delay += 1
        self.patch({"triton": {"dynamicBatching": {"maxQueueDelay": f"{self.delay}us"}}})
        self.settled()

    def eviction(self) -> None:
        """Evict every pod, each as soon as the disruption budget allows it."""
        for pod in self.client.list("Pod", selector=SELECTOR):
            self._evict(pod["metadata"]["name"])
            self.settled()

    def _evict(self, pod: str) -> None:
        body = {"apiVersion": "policy/v1beta1", "kind": "Eviction", "metadata": {"name": pod, "namespace": "default"}}
        command = [str(binaries.kubectl()), "--kubeconfig", str(self.cluster.kubeconfig), "create", "-f", "-", "--raw"]
        command.append(f"/api/v1/namespaces/default/pods/{pod}/eviction")
        give_up = time.monotonic() + 120
        while subprocess.run(command, input=json.dumps(body), text=True, capture_output=True, check=False).returncode:
            if time.monotonic() > give_up:
                raise SystemExit(f"{pod} could not be evicted")
            time.sleep(0.5)

    def scale(self) -> None:
        """Scale down by one replica, then up again."""
        self.patch({"replicas": 2})
        self.settled(2)
        self.patch({"replicas": 3})
        self.settled()

    def outage(self) -> None:
        """Roll out another version, with the API server down in the middle."""
        self._take_the_other_version()
        time.sleep(2)
        self.cluster.kill("apiserver")
        time.sleep(AWAY_SECONDS)
        self.cluster.start("apiserver")
        self.settled()


def main() -> None:
    """Run the benchmark and report."""
    with tempfile.TemporaryDirectory() as folder:
        cluster = Cluster(Path(folder) / "cluster")
        try:
            cluster.up("etcd", "apiserver", "controller-manager", "scheduler", "agent", "operator")
            sys.exit(0 if _measure(cluster) else 1)
        finally:
            cluster.down()


def _measure(cluster: Cluster) -> bool:
    client = Client(cluster.kubeconfig)
    for number in (1, 2):
        digits = {
            "model": {"name": "convnet"},
            "dataset": {"name": "digits"},
            "trainer": {"epochs": 1, "seed": number},
            "output": {"model": NAME},
        }
        create(client, "TrainJob", f"train-{number}", digits)
    for number in (1, 2):
        wait(client, "TrainJob", f"train-{number}", "Complete")
    create(client, "ModelServe", NAME, {"model": {"name": NAME, "version": 1}, "replicas": 3})
    wait(client, "ModelServe", NAME, "Ready")
    served = Disturbed(client, cluster)
    served.settled()
    host = str(client.get("Service", NAME)["spec"]["clusterIP"])

    spawn = multiprocessing.get_context("spawn")
    stop, failures = spawn.Event(), spawn.Queue()
    counts = {kind: spawn.Value("q", 0) for kind in CALLERS}
    processes = [
        spawn.Process(target=call, args=(kind, host, counts[kind], failures, stop), daemon=True) for kind in CALLERS
    ]
    for process in processes:
        process.start()
    began, happened, times = time.monotonic(), Counter[str](), []
    disturb = (served.version, served.setting, served.eviction, served.scale, served.outage)
    try:
        for what in itertools.cycle(disturb):
            name, start = what.__name__, time.time()
            what()
            happened[name] += 1
            times.append((name, start, time.time()))
            asked = {kind: each.value for kind, each in counts.items()}
            print(f"{time.monotonic() - began:6.0f} s {name}: {asked}", flush=True)
            enough = len(happened) == len(disturb) and all(each >= WANTED for each in asked.values())
            if enough or time.monotonic() - began > MOST_SECONDS:
                break
    finally:
        stop.set()
        for process in processes:
            process.join(60)
    lost: Counter[str] = Counter()
    while not failures.empty():
        kind, at, words = failures.get()
        during = next((name for name, start, end in times if start <= at <= end), "between")
        lost[f"{kind}, {during}: {words}"] += 1
    bars = []
    for kind, words in (("grpc", "gRPC kept"), ("kept", "HTTP kept"), ("new", "HTTP new connections")):
        bars.append(Bar(f"{words}: asked", counts[kind].value, "requests", WANTED, "more"))
        failed = sum(number for each, number in lost.items() if each.startswith(f"{kind},"))
        bars.append(Bar(f"{words}: lost", failed, "requests", 0))
    return report("rollout", bars, dict(happened), versions("tritonclient", "grpcio"), lost=dict(lost))


if __name__ == "__main__":
    main()
