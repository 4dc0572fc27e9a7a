"""Short constructors of objects as the API server stores them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from trainserve.operator.objects import Object
from trainserve.operator.plan import Plan
from trainserve.operator.settings import Settings
from trainserve.operator.trainjob.observed import Observed
from trainserve.operator.trainjob.plan import plan as plan_trainjob

NOW = datetime(2026, 11, 22, 16, 0, 0, tzinfo=UTC)
SETTINGS = Settings.from_environment({"TRAINSERVE_STORE": "file:///srv/models"})
DIGEST = "sha256:" + "ab" * 32
OTHER_DIGEST = "sha256:" + "cd" * 32


def at(seconds: float) -> str:
    """Format the time `seconds` after NOW as Kubernetes does."""
    return (NOW + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def trainjob(name: str = "digits", uid: str = "job-uid", status: Object | None = None, **spec: Any) -> Object:
    """Return a TrainJob of the convnet on digits; `spec` replaces top-level fields of its spec (None removes one)."""
    whole: Object = {
        "model": {"name": "convnet"},
        "dataset": {"name": "digits"},
        "output": {"model": "digits"},
    } | spec
    return {
        "apiVersion": "trainserve.io/v1alpha1",
        "kind": "TrainJob",
        "metadata": {"name": name, "namespace": "default", "uid": uid, "generation": 1, "resourceVersion": "1"},
        "spec": {field: value for field, value in whole.items() if value is not None},
        **({"status": status} if status else {}),
    }


def command_job(**spec: Any) -> Object:
    """A TrainJob that runs the user's own command."""
    return trainjob(model={"image": "mine", "command": ["true"]}, dataset=None, output=None, **spec)


def created(plan: Plan, kind: str) -> list[Object]:
    return [wanted for wanted in plan.create if wanted["kind"] == kind]


def condition(status: Object, kind: str) -> Object:
    return next((found for found in status["conditions"] if found["type"] == kind), {})


def pod_of(wanted: Object, status: Object | None = None, **metadata: Any) -> Object:
    """Return the pod as the API server stores it once created from `wanted`, with the status that the node reports."""
    known = {"uid": f"uid-{wanted['metadata']['name']}", "resourceVersion": "1"}
    return wanted | {"metadata": wanted["metadata"] | known | metadata, "status": status or {"phase": "Pending"}}


SCHEDULED = [{"type": "PodScheduled", "status": "True"}]
RUNNING: Object = {"phase": "Running", "podIP": "10.0.0.9", "conditions": SCHEDULED}


def ended(exit_code: int, message: Any = "", *, reason: str = "Error", container: str = "trainer") -> Object:
    """Return the status of a pod whose container ended ten seconds after NOW."""
    text = message if isinstance(message, str) else json.dumps(message)
    end = {"exitCode": exit_code, "reason": reason, "message": text, "finishedAt": at(10)}
    return {
        "phase": "Failed" if exit_code else "Succeeded",
        "conditions": SCHEDULED,
        "containerStatuses": [{"name": container, "state": {"terminated": end}}],
    }


PUBLISHED: Object = {
    "outcome": "Published",
    "progress": {"epoch": 5, "epochs": 5, "percent": 100},
    "result": {"accuracy": 0.97, "loss": 0.1},
    "artifact": {
        "uri": "file:///srv/models/default/digits/1",
        "version": 1,
        "digest": DIGEST,
        "bytes": 1000,
        "opset": 18,
        "parity": {"maxAbs": 1e-7, "maxRel": 1e-6},
    },
}


def failed(reason: str, message: str = "why") -> Object:
    return {"outcome": "Failed", "reason": reason, "message": message}


class Run:
    """A TrainJob between reconciles, without an API server: each planned change is applied to the objects held here."""

    def __init__(self, job: Object) -> None:
        self.job, self.children = job, dict[str, Object]()

    def step(self, seconds: float = 0.0, progress: Object | None = None) -> Plan:
        """Plan at `seconds` after NOW and apply the plan."""
        plan = plan_trainjob(Observed.of(self.job, list(self.children.values()), progress), SETTINGS, after(seconds))
        for wanted in plan.create:
            pod, name = wanted["kind"] == "Pod", wanted["metadata"]["name"]
            key = name if pod else f"{wanted['kind']}/{name}"
            assert key not in self.children, "created twice"
            self.children[key] = pod_of(wanted) if pod else wanted
        for delete in plan.delete:
            self.children.pop(delete.name)
        self.job = self.job | {"status": plan.status}
        return plan

    def pods(self) -> list[str]:
        return [name for name, child in self.children.items() if child["kind"] == "Pod"]

    def set(self, pod: str, status: Object, **metadata: Any) -> None:
        self.children[pod] = self.children[pod] | {"status": status}
        self.children[pod]["metadata"] |= metadata

    @property
    def status(self) -> Object:
        return dict(self.job["status"])

    def reasons(self) -> list[str | None]:
        return [attempt.get("reason") for attempt in self.status["attempts"]]


def gang(size: int) -> Run:
    """Return a run whose first attempt consists of `size` running pods."""
    run = Run(trainjob(workers={"nodes": size}))
    run.step()
    for name in run.pods():
        run.set(name, RUNNING)
    return run
