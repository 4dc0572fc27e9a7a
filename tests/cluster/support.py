"""What the cluster tests share: specs to vary, one namespace seen as a user sees it, waiting with a deadline."""

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
"""Seconds after which a wait is taken for a hang; nothing here is measured against it."""


def digits(**changes: Any) -> Object:
    """A TrainJob spec that trains the convnet on digits for one epoch; `changes` replace its top-level fields."""
    spec: Object = {
        "model": {"name": "convnet"},
        "dataset": {"name": "digits"},
        "trainer": {"epochs": 1, "seed": 7},
        "output": {"model": "digits"},
        "policy": {"retries": 0},
    }
    return {**spec, **changes}


def command(*arguments: str, **changes: Any) -> Object:
    """A TrainJob spec that runs the user's own command and publishes nothing."""
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
        """The object once `until` holds; on a hang, fails with what it looked like last."""
        seen: Object = {}

        def look() -> bool:
            nonlocal seen
            seen = self.get(kind, name)
            return bool(until(seen))

        wait_for(look, timeout, lambda: f"{kind} {name}: {json.dumps(seen.get('status'), indent=1)}")
        return seen

    def finished(self, name: str, timeout: float = HANG) -> Object:
        """The TrainJob once it is over, whichever way."""
        return self.wait("TrainJob", name, lambda job: phase_is_final(job), timeout)

    def kubectl(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "KUBECONFIG": str(self.kubeconfig)}
        argv = [str(binaries.kubectl()), "-n", self.namespace, *arguments]
        return subprocess.run(
            argv, env=environment, input=stdin, capture_output=True, text=True, timeout=HANG, check=False
        )

    def quota(self, name: str, *, cpu: str, memory: str) -> None:
        """A quota on requests and limits of the namespace's pods, once it holds."""
        kinds = {
            f"{kind}.{resource}": amount
            for kind in ("requests", "limits")
            for resource, amount in (("cpu", cpu), ("memory", memory))
        }
        self.client.create("ResourceQuota", {"metadata": {"name": name}, "spec": {"hard": kinds}})

        def counted() -> bool:
            return bool(self.client.get("ResourceQuota", name).get("status", {}).get("used"))

        # Until its controller has counted what there is, the API server takes no pod at all.
        wait_for(counted, HANG, lambda: f"quota {name} is not counted")

    @contextlib.contextmanager
    def claim(self, name: str, folder: Path) -> Iterator[None]:
        """A claim of the namespace that is bound to a folder of this machine."""
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
    """Polls until `condition` holds; the API may be away for a while (some tests take it down)."""
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
    """The condition of that type, or an empty one."""
    found = [c for c in thing.get("status", {}).get("conditions") or [] if c["type"] == kind]
    return found[0] if found else {}


def is_true(thing: Object, kind: str) -> bool:
    return bool(condition(thing, kind).get("status") == "True")


def phase_is_final(job: Object) -> bool:
    return (
        is_true(job, "Complete") or is_true(job, "Failed") or bool(condition(job, "Accepted").get("status") == "False")
    )
