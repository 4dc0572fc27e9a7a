"""A cluster for the tests of the node agent, and helpers that create pods and wait for them."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from trainserve.dev.cluster import Cluster
from trainserve.dev.kube import Client

HANG = 60.0
T = TypeVar("T")


def until(condition: Callable[[], T | None], what: str) -> T:
    """Wait until the condition returns a true value; return it."""
    give_up = time.monotonic() + HANG
    while not (result := condition()):
        assert time.monotonic() < give_up, f"after {HANG:.0f} s: {what}"
        time.sleep(0.03)
    return result


class Node:
    """The cluster as a test uses it."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.client = Client(cluster.kubeconfig)

    def create(self, kind: str, name: str, **content: Any) -> Any:
        """Create an object in the default namespace."""
        metadata = {"name": name} | content.pop("metadata", {})
        return self.client.create(kind, {"metadata": metadata, **content})

    def run(
        self, name: str, *command: str, policy: str = "Never", labels: dict[str, str] | None = None, **container: Any
    ) -> Any:
        """Create a pod with one container; `spec` holds further fields of the pod's spec."""
        spec = container.pop("spec", {})
        main = {"name": "main", "image": "none", "command": list(command), **container}
        spec = {"restartPolicy": policy, "terminationGracePeriodSeconds": 5, "containers": [main]} | spec
        return self.create("Pod", name, metadata={"labels": labels or {}}, spec=spec)

    def pod(self, name: str) -> dict[str, Any] | None:
        """Return the current pod, or None without one."""
        return self.client.find("Pod", name)

    def when(self, name: str, condition: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """Wait until the condition holds for the pod; return it."""
        last: list[Any] = [None]

        def check() -> dict[str, Any] | None:
            last[0] = self.pod(name)
            return last[0] if last[0] and condition(last[0]) else None

        try:
            return until(check, f"pod {name}")
        except AssertionError as error:
            raise AssertionError(f"{error} is {last[0] and last[0]['status']}") from None

    def ended(self, name: str) -> dict[str, Any]:
        """Wait for the pod's end; return the terminated state of its first container."""
        pod = self.when(name, lambda pod: pod["status"].get("phase") in ("Succeeded", "Failed"))
        state: dict[str, Any] = pod["status"]["containerStatuses"][0]["state"]["terminated"]
        return state

    def ready(self, name: str) -> dict[str, Any]:
        """Wait until the pod is ready; return it."""
        return self.when(name, is_ready)

    def delete(self, name: str, grace: int | None = None) -> None:
        """Request the pod's deletion."""
        self.client.delete("Pod", name, grace=grace)

    def gone(self, name: str) -> None:
        """Wait until the pod's object no longer exists."""
        until(lambda: self.pod(name) is None, f"pod {name} is not gone")

    def kubectl(self, *arguments: str) -> str:
        """Run kubectl; return its output."""
        command = ["kubectl", "--kubeconfig", str(self.cluster.kubeconfig), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=HANG).stdout

    def log(self, name: str, *options: str) -> str:
        """Return the pod's log, read through the API server."""
        return self.kubectl("logs", name, *options)

    @property
    def pods(self) -> Path:
        """Folder in which the agent keeps its pods."""
        return self.cluster.directory / "pods"


def is_ready(pod: dict[str, Any]) -> bool:
    """Return whether the pod's condition Ready is true."""
    return any(each["type"] == "Ready" and each["status"] == "True" for each in pod["status"].get("conditions", []))


def container(pod: dict[str, Any]) -> dict[str, Any]:
    """Return the status of the pod's first container, or an empty object before it exists."""
    statuses = pod["status"].get("containerStatuses")
    first: dict[str, Any] = statuses[0] if statuses else {}
    return first


def waits_for(pod: dict[str, Any], reason: str) -> bool:
    """Return whether the pod's first container is waiting with this reason."""
    return bool(container(pod).get("state", {}).get("waiting", {}).get("reason") == reason)


def processes_with(marker: str) -> list[int]:
    """Return the pids of all other processes with `marker` in their command line."""
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit() and int(path.name) != os.getpid():
            try:
                if marker.encode() in (path / "cmdline").read_bytes():
                    found.append(int(path.name))
            except OSError:
                continue
    return found


@pytest.fixture(scope="package")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    if os.environ.get("KUBECONFIG"):
        pytest.skip("KUBECONFIG names a cluster, whose nodes are not ours to test")
    # Commas and colons are separators in the options of overlay mounts.
    cluster = Cluster(tmp_path_factory.mktemp("node") / "a,b:c", simulated_gpus=3)
    try:
        cluster.up()
        yield Node(cluster)
    finally:
        cluster.down()
