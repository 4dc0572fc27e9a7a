"""`spec.slo`: settings that hold the objective. A pod measures them, the status records them, the Deployment uses them.

They are measured once for each combination of what determines the result: the model's bytes, the objective, the other
settings, the image and the hardware.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from trainserve.api.messages import Failed, Tuned, Unreadable
from trainserve.api.modelserve import ModelServeSpec, Slo
from trainserve.api.reasons import Reason
from trainserve.operator import pods, shares, times
from trainserve.operator.conditions import Condition
from trainserve.operator.modelserve import health, tuner
from trainserve.operator.modelserve.observed import Observed
from trainserve.operator.modelserve.version import Version
from trainserve.operator.objects import Object
from trainserve.operator.plan import Delete
from trainserve.operator.said import as_status
from trainserve.operator.settings import Settings

TUNED = "Tuned"
"""Condition of a ModelServe with an objective: whether it is served with settings that hold the objective."""
HELD, NOT_REACHABLE, FAILED = "ObjectiveHeld", "NotReachable", Reason.TUNING_FAILED
CHOSEN = ("instances", "threads")
TRY_AGAIN = timedelta(minutes=5)
"""Pause after a tuning pod ended without a reason: the settings did not cause that."""


@dataclass
class Step:
    """Result of a step: the `spec` to serve with, None while settings are measured, and `tuning` for the status."""

    condition: Condition
    spec: ModelServeSpec | None = None
    tuning: Object | None = None
    create: list[Object] = field(default_factory=list)
    delete: list[Delete] = field(default_factory=list)
    requeue_after: float | None = None


def step(
    observed: Observed, spec: ModelServeSpec, slo: Slo, target: Version, settings: Settings, now: datetime
) -> Step:
    """Return the next step towards settings that hold `slo` for this version; `spec` is the parsed one."""
    key, tuners = key_of(spec, slo, target, settings), observed.children.tuners
    remembered = observed.status.get("tuning") or {}
    if remembered.get("key") == key:
        # The status holds the result, so the pods that measured it are no longer needed.
        done = [Delete("Pod", name) for name in tuners]
        return Step(_condition(remembered), chosen(spec, remembered), remembered, delete=done)
    name = tuner.name_of(observed.raw, key)
    others = [Delete("Pod", other) for other in tuners if other != name]
    pod = tuners.get(name)
    if pod is None:
        wanted = tuner.pod(observed.raw, name, spec, slo, target, settings)
        return Step(_measuring(slo, target), create=[wanted], delete=others)
    end = pods.terminated(pod, "tune")
    answer = pods.message(end) if end else None
    if isinstance(answer, Tuned):
        told = as_status(answer)
        del told["outcome"], told["formatVersion"]
        tuning = {"key": key, "objective": slo.p99, **told}
        return Step(_condition(tuning), chosen(spec, tuning), tuning, delete=others)
    if end is not None or pods.is_over(pod):
        failed = _failed(pod, end, spec, others, now)
        if failed.condition.reason == FAILED and answer is not None:
            # Another try would fail, too. Record that, so that the pod, whose server still holds a GPU, can be deleted.
            failed.tuning = {"key": key, "objective": slo.p99, "held": False, "reason": FAILED}
            failed.tuning["message"] = str(failed.condition.message)
        return failed
    trouble = health.why_not_running(pod, "fetch", "triton", "tune")
    if trouble is not None:
        return Step(Condition(TUNED, "Unknown", trouble.reason, trouble.message), delete=others)
    return Step(_measuring(slo, target), delete=others)


def key_of(spec: ModelServeSpec, slo: Slo, target: Version, settings: Settings) -> str:
    """Return ten hexadecimal digits that change with anything on which the result depends."""
    resources = spec.resources.model_dump(exclude={"tolerations"})
    if spec.resources.cpu is None:
        resources["cpu"] = shares.cpu_limit(spec.resources, settings.shares.triton)
    depends = [target.digest, slo.model_dump(), _kept(spec), spec.triton.image or settings.triton_image, resources]
    return hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:10]


def chosen(spec: ModelServeSpec, tuning: Mapping[str, Any]) -> ModelServeSpec:
    """Return the spec with the settings that hold the objective; unchanged if none do."""
    if not tuning.get("held"):
        return spec
    batching = spec.triton.dynamic_batching
    if "maxBatch" in tuning:
        # The preferred sizes were chosen for another largest batch.
        change = {"max_batch": tuning["maxBatch"], "max_queue_delay": tuning.get("maxQueueDelay")}
        batching = batching.model_copy(update=change | {"preferred_batch_sizes": None})
    layout = {name: tuning[name] for name in CHOSEN if name in tuning}
    return spec.model_copy(update={"triton": spec.triton.model_copy(update={"dynamic_batching": batching, **layout})})


def _kept(spec: ModelServeSpec) -> Object:
    """Return the settings that the tuner does not choose."""
    batching = {"dynamic_batching": {"max_batch", "max_queue_delay", "preferred_batch_sizes"}}
    return spec.triton.model_dump(exclude={**dict.fromkeys(CHOSEN, True), "image": True, **batching})


def _measuring(slo: Slo, target: Version) -> Condition:
    return Condition(TUNED, "Unknown", "Measuring", f"measuring which settings of {target} hold p99 {slo.p99}")


def _condition(tuning: Mapping[str, Any]) -> Condition:
    held = bool(tuning.get("held"))
    reason = HELD if held else tuning.get("reason") or NOT_REACHABLE
    return Condition(TUNED, "True" if held else "False", reason, tuning.get("message") or reason)


def _failed(
    pod: Object, end: Mapping[str, Any] | None, spec: ModelServeSpec, others: list[Delete], now: datetime
) -> Step:
    """Return the step after a failed measurement: serve with the settings of `spec`, since availability takes priority
    over the objective."""
    said = pods.message(end) if end else None
    # If the server has died, the tuner can only report that it no longer responds.
    trouble = health.fetch_failure(pod) or health.why_not_running(pod, "triton")
    told = said.message if isinstance(said, Failed) else str(said) if isinstance(said, Unreadable) else None
    words = (trouble.message if trouble else None) or told or (end or {}).get("message")
    reason = trouble.reason if trouble else FAILED
    failed = Step(Condition(TUNED, "False", reason, words or "the tuning pod ended without a message"), spec)
    failed.delete += others
    if said is None and trouble is None:
        finished = (end or {}).get("finishedAt") or pod["metadata"].get("creationTimestamp")
        left = times.left(times.from_text(finished), TRY_AGAIN, now) if finished else None
        if left:
            failed.requeue_after = left.total_seconds()
        elif not pods.deleting(pod):
            failed.delete.append(Delete("Pod", pod["metadata"]["name"]))
    return failed
