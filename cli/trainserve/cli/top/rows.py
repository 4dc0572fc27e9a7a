"""Rows of the two tables, from the API server's objects and their pods' figures. Pure; no value is trusted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from trainserve.api.scalars import duration
from trainserve.cli.top.figures import P99

Object = Mapping[str, Any]

TRAINJOB_PHASES = ("Running", "Restarting", "Unschedulable", "Pending", "Refused", "Failed", "Complete")
MODELSERVE_PHASES = ("Failed", "Refused", "Degraded", "Updating", "Starting", "Waiting", "Ready")
"""Phases of each kind; those that may need attention come first."""
_FINAL = ("Complete", "Failed", "Refused")
_MOST_TEXT = 240
"""Maximum length of a text, in characters."""
_AS_WANTED = ("Running", "Complete", "Ready")


@dataclass(frozen=True, kw_only=True)
class Training:
    """Row of a TrainJob."""

    namespace: str
    name: str
    phase: str
    epoch: float | None = None
    epochs: float | None = None
    loss: float | None = None
    """NaN if that is what training reports."""
    accuracy: float | None = None
    rate: float | None = None
    eta: float | None = None
    gpu: float | None = None
    memory: float | None = None
    attempts: int = 0
    age: float | None = None
    why: str = ""
    gpus: int = 0
    """GPUs that it requests; 0 once it has ended."""


@dataclass(frozen=True, kw_only=True)
class Serving:
    """Row of a ModelServe."""

    namespace: str
    name: str
    phase: str
    version: int | None = None
    ready: int | None = None
    replicas: int | None = None
    rate: float | None = None
    p99: P99 | None = None
    objective: float | None = None
    """The objective of its p99, in milliseconds."""
    age: float | None = None
    why: str = ""
    gpus: int = 0


Row = Training | Serving

SORTS = tuple(
    dict.fromkeys(
        field.name
        for kind in (Training, Serving)
        for field in fields(kind)
        if field.name not in ("epochs", "ready", "objective", "why", "gpus")
    )
)
"""Columns to sort by. A table without the column is sorted by phase."""
_LARGEST_FIRST = ("epoch", "accuracy", "rate", "gpu", "memory", "attempts", "version", "replicas", "p99")


def clean(value: Any) -> str:
    """`value` in one line without control characters, so that it cannot manipulate the terminal."""
    line = " ".join(str(value or "").split())[:_MOST_TEXT]
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in line)


def number(value: Any) -> float | None:
    """`value` if it is a finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, int) and abs(value) > 2**63:
        return None
    return float(value) if math.isfinite(value) else None


def training(job: Object, said: Object | None, now: datetime) -> Training:
    """The row of TrainJob `job`: `said`, the progress that its pod reports, overrides that in its status."""
    meta, spec, status = _part(job, "metadata"), _part(job, "spec"), _part(job, "status")
    phase = clean(status.get("phase")) or "Pending"
    progress = {**_part(status, "progress"), **(said or {})}
    result = _part(status, "result")

    def figure(key: str, field: str) -> float | None:
        measured = number(result.get(field))
        return number(progress.get(key)) if measured is None else measured

    running = phase == "Running"
    loss = figure("loss", "loss")
    return Training(
        namespace=clean(meta.get("namespace")),
        name=clean(meta.get("name")),
        phase=phase,
        epoch=number(progress.get("epoch")),
        epochs=number(progress.get("epochs")),
        loss=math.nan if loss is None and _is_nan(progress.get("loss")) else loss,
        accuracy=figure("accuracy", "accuracy"),
        rate=figure("samplesPerSecond", "samplesPerSecond"),
        eta=number(progress.get("etaSeconds")) if running else None,
        gpu=number(progress.get("gpuUtilization")) if running else None,
        memory=number(progress.get("gpuMemoryBytes")) if running else None,
        attempts=len(_list(status, "attempts")) + _whole(status.get("attemptsDropped")),
        age=_age(meta, now),
        why=_why(_behind_trainjob(phase, status), phase, status),
        gpus=0 if phase in _FINAL else _gpus(spec) * max(1, _whole(_part(spec, "workers").get("nodes"))),
    )


def serving(serve: Object, rate: float | None, p99: P99 | None, now: datetime) -> Serving:
    """The row of ModelServe `serve`, with its pods' figures; without their `p99`, with that in its status."""
    meta, spec, status = _part(serve, "metadata"), _part(serve, "spec"), _part(serve, "status")
    phase = clean(status.get("phase")) or "Waiting"
    replicas = _part(status, "replicas")
    written = number(_part(status, "latency").get("p99Ms"))
    version, ready, desired = (
        number(each) for each in (status.get("version"), replicas.get("ready"), replicas.get("desired"))
    )
    wanted = _whole(spec.get("replicas", 1)) if desired is None else int(desired)
    return Serving(
        namespace=clean(meta.get("namespace")),
        name=clean(meta.get("name")),
        phase=phase,
        version=None if version is None else int(version),
        ready=None if ready is None else int(ready),
        replicas=wanted,
        rate=rate,
        p99=P99(written, "probe") if p99 is None and written is not None else p99,
        objective=_milliseconds(_part(spec, "slo").get("p99")),
        age=_age(meta, now),
        why=_why(_behind_modelserve(phase, status), phase, status),
        gpus=_gpus(spec) * wanted,
    )


def ordered(rows: Sequence[Row], key: str) -> list[Row]:
    """Sort `rows` by `key`, then by phase, then youngest first; rows without that figure come last."""

    def by_phase(row: Row) -> tuple[int, float, str, str]:
        phases = TRAINJOB_PHASES if isinstance(row, Training) else MODELSERVE_PHASES
        place = phases.index(row.phase) if row.phase in phases else len(phases)
        return place, row.age if row.age is not None else math.inf, row.namespace, row.name

    def by_key(row: Row) -> tuple[bool, Any]:
        value = getattr(row, key)
        value = value.ms if isinstance(value, P99) else value
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return True, 0.0
        return False, -value if key in _LARGEST_FIRST else value

    found = sorted(rows, key=by_phase)
    if key == "phase" or not found or not hasattr(found[0], key):
        return found
    return sorted(found, key=by_key)


def _why(behind: str, phase: str, status: Object) -> str:
    """Reason and message of the condition `behind` the phase; empty for a phase that needs no explanation."""
    found = _conditions(status).get(behind, {})
    reason, message = found.get("reason") or "", found.get("message") or ""
    return "" if phase in _AS_WANTED else clean(message if reason in ("", phase) else f"{reason}: {message}")


def _behind_trainjob(phase: str, status: Object) -> str:
    """The condition that explains a TrainJob's phase: of one that waits, Scheduled or, once scheduled, Running."""
    scheduled = _conditions(status).get("Scheduled", {}).get("reason")
    waits = "Running" if scheduled in (None, "Pending", "Scheduled") else "Scheduled"
    return {"Failed": "Failed", "Refused": "Accepted", "Restarting": "Running"}.get(phase, waits)


def _behind_modelserve(phase: str, status: Object) -> str:
    """The condition that explains a ModelServe's phase: Progressing for an unfinished rollout, else mostly Ready."""
    progressing = _conditions(status).get("Progressing", {}).get("reason")
    serves = "Ready" if progressing in (None, "UpToDate") else "Progressing"
    return {"Refused": "Accepted", "Waiting": "ModelResolved"}.get(phase, serves)


def _conditions(status: Object) -> dict[str, Object]:
    return {str(each.get("type")): each for each in _list(status, "conditions") if isinstance(each, dict)}


def _age(meta: Object, now: datetime) -> float | None:
    try:
        created = datetime.fromisoformat(str(meta.get("creationTimestamp")).replace("Z", "+00:00"))
        return max(0.0, (now - created).total_seconds())
    except (ValueError, TypeError):
        return None


def _milliseconds(text: Any) -> float | None:
    try:
        return float(duration.seconds(str(text))) * 1e3
    except ValueError:
        return None


def _gpus(spec: Object) -> int:
    return _whole(_part(spec, "resources").get("gpus"))


def _whole(value: Any) -> int:
    return int(number(value) or 0)


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _part(value: Object, key: str) -> Object:
    found = value.get(key)
    return found if isinstance(found, dict) else {}


def _list(value: Object, key: str) -> list[Any]:
    found = value.get(key)
    return found if isinstance(found, list) else []
