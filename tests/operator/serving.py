"""A ModelServe between reconciles, without an API server."""

from __future__ import annotations

import json
from typing import Any

from tests.operator.support import DIGEST, OTHER_DIGEST, SETTINGS, after, ended, trainjob
from trainserve.operator import labels
from trainserve.operator.modelserve.observed import Observed
from trainserve.operator.modelserve.plan import plan
from trainserve.operator.objects import Object
from trainserve.operator.plan import Plan
from trainserve.operator.record import Digests

SUFFIX, OTHER = DIGEST[7:17], OTHER_DIGEST[7:17]


def artifact(number: int, digest: str) -> Object:
    return {"uri": f"file:///srv/models/default/digits/{number}", "version": number, "digest": digest}


FIRST = trainjob(name="one", status={"phase": "Complete", "artifact": artifact(1, DIGEST)})
SECOND = trainjob(name="two", status={"phase": "Complete", "artifact": artifact(2, OTHER_DIGEST)})
VERIFIED: Object = {"verified": True, "reason": "SamplesMatch", "message": "64 samples", "p50Ms": 0.7, "p99Ms": 2.1}


BAD_CONFIG: Object = {
    "exitCode": 1,
    "reason": "Error",
    "message": """\
W1122 22:27:42.875748 25638 pinned_memory_manager.cc:273] "Unable to allocate pinned system memory"
E1122 22:27:41.833001 25626 model_repository_manager.cc:1460] "Poll failed for model directory 'digits': dynamic \
batching preferred size must be <= max batch size for digits"
W1122 22:27:43.214083 25638 metrics.cc:798] "DCGM unable to start: DCGM initialization error"
error: creating server: Internal - failed to load all models""",
}
"""End of a Triton 2.51 container, with the last log lines as the kubelet keeps them."""

UNSCHEDULABLE: Object = {"type": "PodScheduled", "status": "False", "message": "0/1 nodes: 1 Insufficient cpu."}


class Serve:
    """A ModelServe between reconciles, without an API server: each plan is applied to the objects held here."""

    def __init__(self, *jobs: Object, **spec: Any) -> None:
        self.object: Object = {
            "apiVersion": "trainserve.io/v1alpha1",
            "kind": "ModelServe",
            "metadata": {"name": "digits", "namespace": "default", "uid": "serve-uid", "generation": 1},
            "spec": {"model": {"name": "digits"}} | spec,
        }
        self.jobs, self.children = list(jobs), dict[tuple[str, str], Object]()
        self.answers: dict[str, Object] = {}
        self.budgets: str | None = "v1"
        self.chart = SETTINGS
        self.digests: Digests = lambda model, version: None

    def step(self, seconds: float = 0.0) -> Plan:
        """Plan at `seconds` after NOW and apply the plan."""
        done = plan(self.observed(), self.chart, after(seconds))
        for wanted in (*done.create, *done.apply):
            at_name = wanted["kind"], wanted["metadata"]["name"]
            self.children[at_name] = {**self.children.get(at_name, {}), **wanted}
        for delete in done.delete:
            del self.children[delete.kind, delete.name]
        self.object = self.object | {"status": done.status}
        return done

    def observed(self) -> Observed:
        children = list(self.children.values())
        return Observed.of(self.object, children, self.answers, self.jobs, self.digests, self.budgets)

    @property
    def status(self) -> Object:
        return dict(self.object["status"])

    def deployments(self) -> list[str]:
        return sorted(name for kind, name in self.children if kind == "Deployment")

    def active(self) -> str:
        return str(self.children["Service", "digits"]["spec"]["selector"][labels.VERSION])

    def add_pod(self, suffix: str, status: Object, report: Object | None = None) -> None:
        """Add a pod of the version with this suffix, as the Deployment's controller would."""
        template = self.children["Deployment", f"digits-{suffix}"]["spec"]["template"]["metadata"]
        name = f"digits-{suffix}-x"
        metadata = {**template, "name": name, "namespace": "default", "uid": name}
        self.children["Pod", name] = {"kind": "Pod", "metadata": metadata, "status": status}
        if report is not None:
            self.answers[name] = report

    def pods(self) -> list[str]:
        """Return the sorted names of the ModelServe's pods."""
        return sorted(name for kind, name in self.children if kind == "Pod")

    def settings(self, suffix: str) -> Object:
        """Return the settings passed to the pods of the version with this suffix."""
        pod = self.children["Deployment", f"digits-{suffix}"]["spec"]["template"]["spec"]
        command = pod["initContainers"][0]["command"]
        return dict(json.loads(command[command.index("--settings") + 1]))

    def make_ready(self, suffix: str, replicas: int = 1) -> None:
        ready = {"phase": "Running", "podIP": "10.0.0.9", "conditions": [{"type": "Ready", "status": "True"}]}
        self.add_pod(suffix, ready, VERIFIED)
        names = ("replicas", "updatedReplicas", "availableReplicas", "readyReplicas")
        counts = dict.fromkeys(names, replicas)
        self.children["Deployment", f"digits-{suffix}"]["status"] = {"observedGeneration": 1, **counts}

    @classmethod
    def ready(cls, *jobs: Object, **spec: Any) -> Serve:
        """Return a ModelServe that serves the first version."""
        serve = cls(*jobs, **spec)
        serve.step()
        serve.make_ready(SUFFIX)
        serve.step(5)
        return serve


RESOLVER = "digits-resolve-1"


def answer_resolver(serve: Serve, exit_code: int, message: Object) -> None:
    serve.children["Pod", RESOLVER]["status"] = ended(exit_code, message, container="resolve")
