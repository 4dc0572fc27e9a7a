"""Metric samples of one ModelServe, as a pure function of its spec and status, valid or not, and its children."""

from __future__ import annotations

from collections.abc import Iterator

from trainserve.api import latency_buckets
from trainserve.api.base import Resources
from trainserve.api.metrics import objects as metrics
from trainserve.api.modelserve import ModelServeSpec
from trainserve.api.scalars.duration import seconds as duration
from trainserve.api.triton import DynamicBatching, Triton
from trainserve.operator import conditions, objects, statuses
from trainserve.operator.modelserve import version as versions
from trainserve.operator.modelserve.transition import reason, short
from trainserve.operator.objects import Object
from trainserve.operator.sample import Sample, sample, seconds
from trainserve.operator.statuses import ModelServeStatus
from trainserve.operator.transition import phase

TRUTH = {"True": 1, "False": 0}
GPUS = Resources.model_fields["gpus"].default


def samples(serve: Object, children: list[Object]) -> Iterator[Sample]:
    """Yield the samples of `serve`, at most SERIES_LIMIT."""
    metadata, spec, status = serve["metadata"], objects.spec(serve), statuses.of_modelserve(serve)
    own = metadata["namespace"], metadata["name"]
    version, digest = status.get("version"), short(status.get("digest") or "")
    layout = _layout(spec, status)
    yield sample(metrics.MODELSERVE_INFO, 1, *own, _model(spec, status, children), version, digest, *layout)
    yield sample(metrics.MODELSERVE_PHASE, 1, *own, phase(status), reason(status))
    replicas = spec.get("replicas", ModelServeSpec.model_fields["replicas"].default)
    yield sample(metrics.MODELSERVE_DESIRED, replicas, *own)
    yield sample(metrics.MODELSERVE_READY, (status.get("replicas") or {}).get("ready", 0), *own)
    verified = conditions.find(status.get("conditions"), "Verified") or {}
    if (truth := TRUTH.get(verified.get("status", ""))) is not None:
        yield sample(metrics.MODELSERVE_VERIFIED, truth, *own)
    yield sample(metrics.MODELSERVE_GPUS, (spec.get("resources") or {}).get("gpus", GPUS) * replicas, *own)
    if slo := spec.get("slo"):
        yield from _objective(own, float(duration(slo["p99"])))
    if history := status.get("history"):
        since = history[-1]
        at = seconds(since["time"])
        yield sample(metrics.MODELSERVE_SINCE, at, *own, since.get("version"), short(since["digest"]))


def _objective(own: tuple[str, str], objective: float) -> Iterator[Sample]:
    yield sample(metrics.MODELSERVE_OBJECTIVE, objective, *own)
    for family, bound in latency_buckets.objective_buckets(objective):
        yield sample(metrics.MODELSERVE_OBJECTIVE_BUCKET, 1, *own, family, bound)


def _model(spec: Object, status: ModelServeStatus, children: list[Object]) -> str | None:
    """Return the name under which Triton serves the version that takes traffic, as recorded on its Deployment; without
    one, return the model's name in the spec."""
    served = (versions.read(child) for child in children if child["kind"] == "Deployment")
    names = (version.model for version in served if version is not None and version.digest == status.get("digest"))
    return next(names, (spec.get("model") or {}).get("name"))


def _layout(spec: Object, status: ModelServeStatus) -> tuple[int, int]:
    """Return the number of instances and the largest batch: the tuned ones if they hold the objective, else those of
    the spec."""
    triton, tuning = spec.get("triton") or {}, status.get("tuning") or {}
    batching = triton.get("dynamicBatching") or {}
    chosen = tuning if spec.get("slo") and tuning.get("held") else {}
    instances = chosen.get("instances", triton.get("instances", Triton.model_fields["instances"].default))
    largest = batching.get("maxBatch", DynamicBatching.model_fields["max_batch"].default)
    return instances, chosen.get("maxBatch", largest)
