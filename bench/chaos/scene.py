"""The scene: a development cluster with proxies in front of its API server and its ModelServes.

The operator reaches the API server, and callers the ready pods of the ModelServes, through proxies of this benchmark;
the store is a small file system.
"""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import yaml

from bench.chaos.front import Address, Front
from bench.chaos.tally import over
from trainserve.dev.cluster import Cluster
from trainserve.dev.kube import ApiError, Client, Object, Refused

T = TypeVar("T")
NAMESPACE = "default"
STORE_MIB = 64
PORTS = (8000, 8001)
"""The ports of HTTP and gRPC."""
AWAY = (Refused, OSError)
"""The errors with which a call ends while the API server is away."""


class Scene:
    """The development cluster, which runs between `up` and `down`."""

    def __init__(self, serves: list[str]) -> None:
        self.serves = serves
        self.folder = Path(tempfile.mkdtemp(prefix="trainserve-chaos-"))
        self.cluster = Cluster(self.folder / "cluster")
        self.small = False
        """Whether the store is a separate small file system."""
        self.began = time.monotonic()
        self.loop = asyncio.new_event_loop()
        self._ready: dict[str, list[str]] = {name: [] for name in serves}
        self._fronts = {name: [Front(partial(self._addresses, name, port)) for port in PORTS] for name in serves}
        self._over = threading.Event()

    def up(self) -> None:
        """Start everything but the operator, then the operator, which connects through its front."""
        store = self.cluster.store
        store.mkdir(parents=True)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={STORE_MIB}m", "tmpfs", str(store)]
        self.small = subprocess.run(mount, capture_output=True, check=False).returncode == 0
        self.cluster.up("etcd", "apiserver", "controller-manager", "scheduler", "agent")
        self.client = Client(self.cluster.kubeconfig, NAMESPACE)
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self._operators = Front(partial(list, [self._through_front()]))
        for front in (self._operators, *(front for fronts in self._fronts.values() for front in fronts)):
            asyncio.run_coroutine_threadsafe(front.listen(), self.loop).result()
        self._point_operator()
        self.cluster.start("operator")
        threading.Thread(target=self._watch, daemon=True).start()

    def down(self) -> None:
        """Stop and unmount everything; the files are kept."""
        self._over.set()
        self.cluster.down()
        if self.small:
            subprocess.run(["umount", "-l", str(self.cluster.store)], check=False)

    def clock(self) -> str:
        """Return the time since the start, formatted as a line's prefix."""
        return f"{time.monotonic() - self.began:6.0f} s"

    def ports(self, serve: str) -> tuple[int, int]:
        """Return the ports of a ModelServe for HTTP and gRPC, on 127.0.0.1."""
        http, grpc = self._fronts[serve]
        return http.port, grpc.port

    def cut_operator(self, seconds: float) -> int:
        """Reset the operator's connections, and new ones for `seconds`. Returns the number of open ones."""
        cut = self._in_loop(partial(self._operators.cut, seconds))
        time.sleep(seconds)
        return cut

    def cut_callers(self, serve: str) -> int:
        """Reset the connections of a ModelServe's callers. Returns their number."""
        return sum(self._in_loop(front.cut) for front in self._fronts[serve])

    def pods(self, kind: str) -> list[Object]:
        """Return the pods of all TrainJobs, or of all ModelServes, that are not being deleted."""
        found = self.client.list("Pod", selector=f"trainserve.io/{kind}")
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def ready_pods(self, serve: str) -> list[Object]:
        """Return the ready server pods of a ModelServe."""
        return [pod for pod in self.pods("modelserve") if _serves(pod, serve)]

    def jobs_going_on(self) -> list[Object]:
        """Return the TrainJobs that are neither Complete nor Failed."""
        return [job for job in self.client.list("TrainJob") if not over(job)]

    def patiently(self, call: Callable[[], T], seconds: float = 300.0) -> T:
        """Repeat a call until the API server answers, for at most `seconds`, and return the result.

        Raises the last error after that, and ApiError with status 404 or 409 at once.
        """
        give_up = time.monotonic() + seconds
        while True:
            try:
                return call()
            except AWAY as error:
                final = isinstance(error, ApiError) and error.status in (404, 409)
                if final or time.monotonic() > give_up:
                    raise
            time.sleep(1.0)

    def _in_loop(self, call: Callable[[], T]) -> T:
        async def run() -> T:
            return call()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result()

    def _addresses(self, serve: str, port: int) -> list[Address]:
        return [(host, port) for host in self._ready[serve]]

    def _watch(self) -> None:
        """Track which pods are ready, while the API server is reachable."""
        while not self._over.wait(0.5):
            try:
                pods = self.pods("modelserve")
            except AWAY:
                continue  # keep the last known pods
            for name in self.serves:
                self._ready[name] = sorted(pod["status"]["podIP"] for pod in pods if _serves(pod, name))

    def _through_front(self) -> Address:
        url = urlsplit(yaml.safe_load(self.cluster.kubeconfig.read_text())["clusters"][0]["cluster"]["server"])
        assert url.hostname and url.port
        return url.hostname, url.port

    def _point_operator(self) -> None:
        """Set the server in the operator's kubeconfig to its front."""
        path = self.cluster.operator_kubeconfig
        config = yaml.safe_load(path.read_text())
        config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{self._operators.port}"
        path.write_text(yaml.safe_dump(config))


def _serves(pod: Object, serve: str) -> bool:
    """Return whether the pod is a ready server of that ModelServe."""
    named = any(container["name"] == "triton" for container in pod["spec"]["containers"])
    conditions = pod.get("status", {}).get("conditions") or []
    ready = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
    return pod["metadata"]["labels"]["trainserve.io/modelserve"] == serve and named and ready
