"""Helpers of the cluster tests: specs to vary, one namespace as a user sees it, and waiting with a deadline."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from trainserve.dev import binaries
from trainserve.dev.cluster import Cluster
from trainserve.dev.kube import Client, Refused
from trainserve.dev.kube import Object as Object

HANG = 420.0
"""Seconds after which a wait counts as a hang; no test measures against it."""


def digits(**changes: Any) -> Object:
    """Return a TrainJob spec that trains the convnet on digits for one epoch; `changes` replace top-level fields."""
    spec: Object = {
        "model": {"name": "convnet"},
        "dataset": {"name": "digits"},
        "trainer": {"epochs": 1, "seed": 7},
        "output": {"model": "digits"},
        "policy": {"retries": 0},
    }
    return {**spec, **changes}


def command(*arguments: str, **changes: Any) -> Object:
    """Return a TrainJob spec that runs the user's own command and publishes nothing."""
    return {"model": {"image": "ignored", "command": list(arguments)}, "policy": {"retries": 0}, **changes}


class Kube:
    """One namespace of the cluster, as a user with admin rights sees it."""

    def __init__(self, kubeconfig: Path, cluster: Cluster | None, namespace: str) -> None:
        self.kubeconfig, self.cluster, self.namespace = kubeconfig, cluster, namespace
        self.client = Client(kubeconfig, namespace)

    def create(self, kind: str, name: str, spec: Object) -> Object:
        return self.client.create(kind, {"metadata": {"name": name}, "spec": spec})

    def get(self, kind: str, name: str) -> Object:
        return self.client.get(kind, name)

    def pods(self, **labels: str) -> list[Object]:
        return self.client.list(
            "Pod", selector=",".join(f"trainserve.io/{key}={value}" for key, value in labels.items())
        )

    def delete(self, kind: str, name: str) -> None:
        self.client.delete(kind, name)

    def wait(self, kind: str, name: str, until: Callable[[Object], Any], timeout: float = HANG) -> Object:
        """Wait until `until` holds; return the object. On a timeout, fail with its last status."""
        seen: Object = {}

        def look() -> bool:
            nonlocal seen
            seen = self.get(kind, name)
            return bool(until(seen))

        wait_for(look, timeout, lambda: f"{kind} {name}: {json.dumps(seen.get('status'), indent=1)}")
        return seen

    def finished(self, name: str, timeout: float = HANG) -> Object:
        """Wait until the TrainJob is over, successful or not; return it."""
        return self.wait("TrainJob", name, lambda job: phase_is_final(job), timeout)

    def kubectl(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "KUBECONFIG": str(self.kubeconfig)}
        argv = [str(binaries.kubectl()), "-n", self.namespace, *arguments]
        return subprocess.run(
            argv, env=environment, input=stdin, capture_output=True, text=True, timeout=HANG, check=False
        )

    def quota(self, name: str, *, cpu: str, memory: str) -> None:
        """Create a quota on requests and limits of the namespace's pods; wait until it is in force."""
        kinds = {
            f"{kind}.{resource}": amount
            for kind in ("requests", "limits")
            for resource, amount in (("cpu", cpu), ("memory", memory))
        }
        self.client.create("ResourceQuota", {"metadata": {"name": name}, "spec": {"hard": kinds}})

        def counted() -> bool:
            return bool(self.client.get("ResourceQuota", name).get("status", {}).get("used"))

        # The API server rejects every pod until the quota's controller has counted the current usage.
        wait_for(counted, HANG, lambda: f"quota {name} is not counted")

    @contextlib.contextmanager
    def claim(self, name: str, folder: Path) -> Iterator[None]:
        """Bind a claim of the namespace to a folder of this machine, until the block ends."""
        volume = f"{name}-{self.namespace}"
        size = "resources: {requests: {storage: 1Gi}}"
        manifests = f"""
apiVersion: v1
kind: PersistentVolume
metadata: {{name: {volume}}}
spec:
  capacity: {{storage: 1Gi}}
  accessModes: [ReadWriteMany]
  storageClassName: folder
  hostPath: {{path: {folder}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: {name}}}
spec: {{accessModes: [ReadWriteMany], storageClassName: folder, volumeName: {volume}, {size}}}
"""
        applied = self.kubectl("apply", "-f", "-", stdin=manifests)
        assert applied.returncode == 0, applied.stderr
        yield
        self.kubectl("delete", "pv", volume, "--wait=false")


def wait_for(condition: Callable[[], bool], timeout: float, what: Callable[[], str]) -> None:
    """Poll until `condition` holds; tolerate an unavailable API server, which some tests stop for a while."""
    give_up = time.monotonic() + timeout
    while True:
        try:
            if condition():
                return
        except (Refused, OSError) as error:
            if time.monotonic() > give_up:
                raise AssertionError(f"still failing after {timeout} s: {error}") from error
        if time.monotonic() > give_up:
            raise AssertionError(f"not so after {timeout} s: {what()}")
        time.sleep(0.1)


def condition(thing: Object, kind: str) -> Object:
    """Return the condition of type `kind`, or an empty object."""
    found = [c for c in thing.get("status", {}).get("conditions") or [] if c["type"] == kind]
    return found[0] if found else {}


def is_true(thing: Object, kind: str) -> bool:
    return bool(condition(thing, kind).get("status") == "True")


def phase_is_final(job: Object) -> bool:
    return (
        is_true(job, "Complete") or is_true(job, "Failed") or bool(condition(job, "Accepted").get("status") == "False")
    )
