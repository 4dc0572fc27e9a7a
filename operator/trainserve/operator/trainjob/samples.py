"""Metric samples of one TrainJob, as a pure function of its spec and status, valid or not."""

from __future__ import annotations

from collections.abc import Iterator

from trainserve.api.base import Resources
from trainserve.api.metrics import objects as metrics
from trainserve.api.trainjob import Workers
from trainserve.operator import objects, statuses
from trainserve.operator.objects import Object
from trainserve.operator.sample import Sample, sample, seconds
from trainserve.operator.statuses import Attempt, TrainJobStatus
from trainserve.operator.trainjob.transition import reason
from trainserve.operator.transition import phase

OVER = ("Complete", "Failed", "Refused")
"""Phases in which the job requests no GPUs."""


def samples(job: Object) -> Iterator[Sample]:
    """Yield the samples of `job`, at most SERIES_LIMIT."""
    metadata, spec, status = job["metadata"], objects.spec(job), statuses.of_trainjob(job)
    own = metadata["namespace"], metadata["name"]
    model = (spec.get("output") or {}).get("model")
    yield sample(metrics.TRAINJOB_INFO, 1, *own, _network(spec), model)
    yield sample(metrics.TRAINJOB_PHASE, 1, *own, phase(status), reason(status))
    yield sample(metrics.TRAINJOB_CREATED, seconds(metadata["creationTimestamp"]), *own)
    yield from _attempts(own, status.get("attempts") or [])
    if phase(status) not in OVER:
        gpus = (spec.get("resources") or {}).get("gpus", Resources.model_fields["gpus"].default)
        nodes = (spec.get("workers") or {}).get("nodes", Workers.model_fields["nodes"].default)
        yield sample(metrics.TRAINJOB_GPUS, gpus * nodes, *own)
    yield from _figures(own, status)
    if artifact := status.get("artifact"):
        yield sample(metrics.TRAINJOB_VERSION, artifact["version"], *own, model)


def _attempts(own: tuple[str, str], attempts: list[Attempt]) -> Iterator[Sample]:
    yield sample(metrics.TRAINJOB_ATTEMPTS, attempts[-1]["number"] if attempts else 0, *own)
    ended = next((attempt for attempt in reversed(attempts) if "completionTime" in attempt), None)
    if ended is not None:
        when = seconds(ended["completionTime"])
        yield sample(metrics.TRAINJOB_ATTEMPT_END, when, *own, ended["number"], ended.get("reason"))


def _figures(own: tuple[str, str], status: TrainJobStatus) -> Iterator[Sample]:
    progress, result = status.get("progress") or {}, status.get("result") or {}
    if (percent := progress.get("percent")) is not None:
        yield sample(metrics.TRAINJOB_PROGRESS, percent / 100, *own)
    if (updated := progress.get("updatedTime")) is not None:
        yield sample(metrics.TRAINJOB_PROGRESS_TIME, seconds(updated), *own)
    if (accuracy := result.get("accuracy", progress.get("accuracy"))) is not None:
        yield sample(metrics.TRAINJOB_ACCURACY, accuracy, *own)
    if (joules := result.get("energyJoules")) is not None:
        yield sample(metrics.TRAINJOB_ENERGY, joules, *own)


def _network(spec: Object) -> str:
    model = spec.get("model") or {}
    return str(model.get("name") or next((source for source in ("script", "command") if source in model), ""))
