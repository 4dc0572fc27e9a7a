"""The next step of a ModelServe, as a pure function of the observed state and the time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from trainserve.api import modelserve_status
from trainserve.api.modelserve import ModelServeSpec
from trainserve.api.pod import Port
from trainserve.api.reasons import Reason
from trainserve.operator import conditions, objects, times
from trainserve.operator.blocked import Refusal
from trainserve.operator.discovery import APIS
from trainserve.operator.modelserve import builders, health, tuning
from trainserve.operator.modelserve import version as versions
from trainserve.operator.modelserve.checks import accepted
from trainserve.operator.modelserve.observed import Observed
from trainserve.operator.modelserve.resolution import plan_resolution
from trainserve.operator.modelserve.version import Version
from trainserve.operator.objects import Object
from trainserve.operator.plan import Delete, Plan, Planner
from trainserve.operator.record import missing
from trainserve.operator.settings import Settings
from trainserve.operator.statuses import ModelServeStatus

HISTORY = 10
"""Number of versions in the status's history."""
DRAIN = timedelta(seconds=2)
"""Pause between switching the Service and deleting the old Deployment, so that every node learns of the switch."""
GUARDED = "DisruptionBudget"
"""Condition of a ModelServe with several replicas: whether a PodDisruptionBudget protects them."""


def plan(observed: Observed, settings: Settings, now: datetime) -> Plan:
    """Return the plan for the next step at `now`."""
    return _Planner(observed, settings, now).plan()


class _Planner(Planner):
    """Planner of one pass over one ModelServe: reads `seen` and collects into `result`."""

    def __init__(self, seen: Observed, settings: Settings, now: datetime) -> None:
        super().__init__()
        self.seen, self.settings, self.now = seen, settings, now
        self.serve, self.children, self.answers = seen.raw, seen.children, seen.answers
        self.old, self.status = seen.status, seen.status.copy()
        self.namespace, self.name, _, self.generation = seen.identity

    def plan(self) -> Plan:
        spec = accepted(self.seen, self.settings)
        if isinstance(spec, Refusal):
            self._observe("Accepted", "False", spec.reason, spec.message)
            self._warn(spec.reason, spec.message, f"{spec.reason}-{self.generation}")
            return self._finish()
        self._observe("Accepted", "True", "Accepted", "the spec is valid")
        target = self._resolve(spec)
        if target is not None:
            tuned = self._tune(spec, target)
            if tuned is not None:
                self._roll_out(tuned, target)
            self._guard(spec)
        self._report_traffic(spec, target)
        return self._finish()

    def _resolve(self, spec: ModelServeSpec) -> Version | None:
        found = plan_resolution(self.seen, spec, self.settings, self.now)
        self.conditions.append(found.condition)
        self.result.create += found.create
        self.result.delete += found.delete
        self.result.requeue_after = found.requeue_after
        if found.condition.status == "False" and found.condition.reason not in ("Resolving", "TrainJobNotComplete"):
            self._warn(found.condition.reason, found.condition.message, f"{found.condition.reason}-{self.generation}")
        for told in found.passed_over:
            self._warn("PassedOver", told, f"passed-over-{self.generation}")
        target, known = found.version, self.seen.digests
        if target is not None and target.number is not None and spec.model.uri is None:
            # This also records versions that a TrainJob of an earlier release, or a user by hand, has published.
            self.result.record += missing(known, self.namespace, target.model, target.number, target.digest)
        return target

    def _tune(self, spec: ModelServeSpec, target: Version) -> ModelServeSpec | None:
        """Return the spec to serve with; None while an objective's settings are being measured."""
        if spec.slo is None:
            self.status.pop("tuning", None)
            self.result.delete += [Delete("Pod", name) for name in self.children.tuners]
            if conditions.find(self.old.get("conditions"), tuning.TUNED) is not None:
                self._observe(tuning.TUNED, "False", "NotNeeded", "spec.slo is not set")
            return spec
        step = tuning.step(self.seen, spec, spec.slo, target, self.settings, self.now)
        self.conditions.append(step.condition)
        self.result.create += step.create
        self.result.delete += step.delete
        self.result.requeue_after = step.requeue_after or self.result.requeue_after
        if step.tuning is not None:
            self.status["tuning"] = step.tuning
        key = f"{step.condition.reason}-{target.suffix}-{self.generation}"
        if step.condition.status == "True" and self.old.get("tuning") != step.tuning:
            self._tell(step.condition.reason, step.condition.message, key)
        if step.condition.status == "False":
            self._warn(step.condition.reason, step.condition.message, key)
        if step.spec is None:
            self._observe("Progressing", "True", "Tuning", step.condition.message)
        return step.spec

    def _roll_out(self, spec: ModelServeSpec, target: Version) -> None:
        wanted = builders.deployment(self.serve, spec, target, self.settings)
        known = self.children.deployments.get(wanted["metadata"]["name"])
        if not builders.is_applied(wanted, known) or known is None or known["spec"].get("replicas") != spec.replicas:
            self.result.apply.append(wanted)
            known = None
        ready = known is not None and _available(known, spec.replicas)
        active = self.children.active()
        if active is None or (ready and active != target.suffix):
            active = target.suffix
        self._shield(spec)
        service = builders.service(self.serve, active)
        if not builders.is_applied(service, self.children.service) or self.children.active() != active:
            self.result.apply.append(service)
        serving = self.children.pods_from(builders.template_digest(wanted))
        judged = health.verified(serving, self.answers)
        if judged.status != "Unknown" or judged.reason == Reason.NOTHING_RECORDED or not ready or not spec.replicas:
            self.conditions.append(judged)
        elif target.number is not None and not _verified_before(self.old, target):
            # The pods have not reported yet (or not to a restarted operator): readiness implies it.
            self.conditions.append(health.VERIFIED_BY_READINESS)
        if (batched := health.batched(serving, self.answers)) is not None:
            self.conditions.append(batched)
        self._settle(target, known, ready=ready, serving=serving)

    def _settle(self, target: Version, deployment: Object | None, *, ready: bool, serving: list[Object]) -> None:
        """Report the rollout's state. `deployment` is that of `target`, or None if it is not applied as wanted yet."""
        if ready:
            self._observe("Progressing", "False", "UpToDate", str(target))
            self._take_traffic(target)
            self._retire(target)
            return
        trouble = self._trouble(serving, deployment)
        if trouble is None:
            self._observe("Progressing", "True", "RollingOut", f"{target} is being started and verified")
            return
        active = self._active_version()
        kept = f"; {active} goes on serving" if active not in (None, target) and self.old.get("digest") else ""
        self._observe("Progressing", "False", trouble.reason, f"{target}: {trouble.message}{kept}")
        self._warn(trouble.reason, f"{target}: {trouble.message}{kept}", f"{trouble.reason}-{target.suffix}")

    def _trouble(self, serving: list[Object], deployment: Object | None) -> health.Trouble | None:
        """Return what prevents pods of a Deployment from being ready or created, unless it will resolve by itself."""
        found = health.trouble(serving, self.answers) or (health.refused_pods(deployment) if deployment else None)
        # The resources of a tuning pod become free for the serving pods once it is deleted.
        passing = (health.UNSCHEDULABLE, health.REPLICA_FAILURE) if self.children.tuners else ()
        return None if found is not None and found.reason in passing else found

    def _guard(self, spec: ModelServeSpec) -> None:
        """Prevent a drain from evicting every replica at once."""
        if spec.replicas < 2:
            if self.children.budget is not None:
                self.result.delete.append(Delete("PodDisruptionBudget", self.name))
            if conditions.find(self.old.get("conditions"), GUARDED) is not None:
                self._observe(GUARDED, "False", "NotNeeded", "fewer than 2 replicas: no PodDisruptionBudget is needed")
        elif self.seen.budgets is None:
            api = APIS["PodDisruptionBudget"]
            message = f"this cluster does not serve {api.named()}: a drain may take every replica at once"
            self._observe(GUARDED, "False", "ApiMissing", message)
        else:
            wanted = builders.disruption_budget(self.serve, f"policy/{self.seen.budgets}")
            if not builders.is_applied(wanted, self.children.budget):
                self.result.apply.append(wanted)
            self._observe(GUARDED, "True", "Guarded", "a drain takes one replica at a time")

    def _shield(self, spec: ModelServeSpec) -> None:
        """Restrict network access to the pods, if the chart enables network policies."""
        known = self.children.policy
        if self.settings.peers is not None:
            wanted = builders.network_policy(self.serve, spec, self.settings.peers)
            if not builders.is_applied(wanted, known):
                self.result.apply.append(wanted)
        elif known is not None:
            self.result.delete.append(Delete("NetworkPolicy", known["metadata"]["name"]))

    def _take_traffic(self, target: Version) -> None:
        history = list(self.old.get("history") or [])
        if not history or history[-1]["digest"] != target.digest:
            history.append({"version": target.number, "digest": target.digest, "time": times.to_text(self.now)})
            self._tell("Serving", f"{target} takes traffic", f"serving-{target.suffix}-{len(history)}")
            self.result.urgent = True
        self.status |= {"history": history[-HISTORY:], "version": target.number, "digest": target.digest}

    def _retire(self, target: Version) -> None:
        old = [name for name in self.children.deployments if name != builders.deployment_name(self.name, target)]
        if not old:
            return
        since = self.status["history"][-1]["time"]
        left = times.left(times.from_text(since), DRAIN, self.now).total_seconds()
        if self.children.active() != target.suffix or left > 0:
            self.result.requeue_after = max(left, DRAIN.total_seconds() / 2)
        else:
            self.result.delete += [Delete("Deployment", name) for name in old]

    def _report_traffic(self, spec: ModelServeSpec, target: Version | None) -> None:
        """Report readiness and latency of the version that the Service selects."""
        active = self.children.active()
        pods_there = self.children.pods_of(active) if active else []
        deployment = self._active_deployment()
        ready = int(objects.status(deployment or {}).get("readyReplicas") or 0)
        self.status["replicas"] = {"desired": spec.replicas, "ready": ready}
        host = f"{self.name}.{self.namespace}.svc"
        self.status |= {"url": f"http://{host}:{Port.HTTP}", "grpcUrl": f"{host}:{Port.GRPC}"}
        serving = self._active_version()
        if ready > 0 and serving is not None and serving != target and "digest" not in self.status:
            # It became ready while a newer version was already being rolled out.
            self.status |= {"version": serving.number, "digest": serving.digest}
        if (measured := health.latency(pods_there, self.answers)) is not None:
            self.status["latency"] = measured
        if ready >= spec.replicas > 0:
            self._observe("Ready", "True", "Serving", f"{ready} of {spec.replicas} replicas are ready")
        elif ready > 0:
            self._observe("Ready", "True", "PartlyServing", f"{ready} of {spec.replicas} replicas are ready")
        elif spec.replicas == 0:
            self._observe("Ready", "False", "ScaledToZero", "spec.replicas is 0")
        else:
            trouble = self._trouble(pods_there, deployment)
            reason, message = trouble or ("NotReady", "no replica is ready")
            self._observe("Ready", "False", reason, message)

    def _active_deployment(self) -> Object | None:
        """Return the Deployment that the Service selects."""
        return self.children.deployments.get(f"{self.name}-{self.children.active()}")

    def _active_version(self) -> Version | None:
        deployment = self._active_deployment()
        return None if deployment is None else versions.read(deployment)

    def _finish(self) -> Plan:
        merged = conditions.merge(self.old.get("conditions"), self.conditions, self.generation, self.now)
        self.status |= {"conditions": merged, "observedGeneration": self.generation, "phase": phase(merged)}
        parsed = modelserve_status.ModelServeStatus.model_validate(self.status)
        self.result.status = parsed.model_dump(mode="json", by_alias=True, exclude_none=True)
        if self.result.status["phase"] != self.old.get("phase"):
            self.result.urgent = True
        return self.result


def phase(known: Iterable[Mapping[str, Any]]) -> str:
    """Return the phase: Refused, Waiting, Starting, Updating, Ready, Degraded or Failed."""
    found = {condition["type"]: condition for condition in known}
    progressing = found.get("Progressing", {})
    serving = found.get("Ready", {})
    if serving.get("status") == "True":
        if progressing.get("status") == "True":
            return "Updating"
        whole = serving["reason"] == "Serving" and progressing.get("reason", "UpToDate") == "UpToDate"
        return "Ready" if whole else "Degraded"
    if found["Accepted"]["status"] == "False":
        return "Refused"
    if found.get("ModelResolved", {}).get("status") == "False":
        return "Waiting"
    if progressing.get("status") == "False" and progressing["reason"] != "UpToDate":
        return "Failed"
    return "Starting"


def _available(deployment: Object, replicas: int) -> bool:
    """Return whether all pods are available and of the newest template, by the rules of `kubectl rollout status`."""
    status = objects.status(deployment)
    updated = status.get("updatedReplicas") or 0
    return (
        status.get("observedGeneration", 0) >= objects.generation(deployment)
        and updated >= replicas
        and (status.get("replicas") or 0) <= updated
        and (status.get("availableReplicas") or 0) >= updated
    )


def _verified_before(status: ModelServeStatus, target: Version) -> bool:
    return status.get("digest") == target.digest and conditions.is_true(status.get("conditions"), "Verified")
