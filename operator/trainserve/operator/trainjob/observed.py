"""The input of one pass over a TrainJob, gathered and parsed once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from trainserve.api.reasons import Reason
from trainserve.api.trainjob import Policy, TrainJobSpec
from trainserve.api.trainjob_status import TrainJobStatus as Form
from trainserve.operator import labels, objects, statuses
from trainserve.operator.blocked import Refusal
from trainserve.operator.objects import Identity, Object
from trainserve.operator.specs import InvalidSpec, parse_trainjob
from trainserve.operator.statuses import Attempt, TrainJobStatus
from trainserve.operator.trainjob.names import CHECK, place_of, pod_name

UNKNOWN = Reason.USER_ERROR
"""Reason for an ended attempt whose own reason can no longer be read: it counts against the retries."""


@dataclass(frozen=True)
class Outline:
    """The part of a spec that is needed to follow a run to its end, readable even if the spec is invalid."""

    model: str | None
    """`output.model`."""
    retries: int
    has_own_code: bool
    """Whether the run uses a user's own script or image."""
    has_command: bool

    @classmethod
    def of(cls, job: Object) -> Outline:
        """Read the spec of `job`; a section that cannot be read counts as unset."""
        model, output, policy = (_section(job, name) for name in ("model", "output", "policy"))
        published, retries = output.get("model"), policy.get("retries")
        return cls(
            model=published if isinstance(published, str) else None,
            retries=retries if isinstance(retries, int) else Policy.model_fields["retries"].default,
            has_own_code="script" in model or "image" in model,
            has_command=model.get("command") is not None,
        )


@dataclass(frozen=True)
class Observed:
    """A TrainJob with its pods and the last progress that rank 0 of the current attempt reported, if any."""

    raw: Object
    identity: Identity
    spec: TrainJobSpec | Refusal
    outline: Outline
    status: TrainJobStatus
    pods: Mapping[str, Object]
    """Worker pods of all attempts, by name."""
    places: Mapping[str, tuple[int, int]]
    """Attempt and rank of each worker, by name."""
    store_checks: Mapping[str, Object]
    """Pods that check whether the store holds what a run reports as published, by name."""
    names: frozenset[str]
    """Names of all pods among the children, including those of an earlier TrainJob of the same name."""
    progress: Mapping[str, Any] | None

    @classmethod
    def of(cls, job: Object, children: Sequence[Object], progress: Mapping[str, Any] | None = None) -> Observed:
        """Gather the input from `job`, its children and the last progress of its rank 0."""
        identity = Identity.of(job)
        found = {child["metadata"]["name"]: child for child in children if child["kind"] == "Pod"}
        own = {name: pod for name, pod in found.items() if labels.owned_by(pod, identity.uid)}
        workers = {name: pod for name, pod in own.items() if not name.endswith(CHECK)}
        return cls(
            raw=job,
            identity=identity,
            spec=_parsed(job),
            outline=Outline.of(job),
            status=_status(job),
            pods=workers,
            places={name: place for name in workers if (place := place_of(identity.name, name)) is not None},
            store_checks={name: pod for name, pod in own.items() if name not in workers},
            names=frozenset(found),
            progress=progress,
        )


def _parsed(job: Object) -> TrainJobSpec | Refusal:
    try:
        return parse_trainjob(job)
    except InvalidSpec as error:  # the schema refuses most of it earlier, on servers that can
        return Refusal("Invalid", str(error))


def _section(job: Object, name: str) -> Object:
    section = objects.spec(job).get(name)
    return section if isinstance(section, dict) else {}


def _status(job: Object) -> TrainJobStatus:
    """Return a status that is safe to plan from: attempts in ascending order, with defaults for missing fields.

    Users with write access may have edited the stored status, and earlier releases wrote fewer fields.
    """
    status = cast(TrainJobStatus, statuses.readable(job, Form))
    numbered = {attempt["number"]: attempt for attempt in status.get("attempts") or []}
    if numbered:
        attempts = [_whole(job, numbered[number]) for number in sorted(numbered)]
        if not attempts[-1].get("pods"):
            attempts[-1]["pods"] = [pod_name(job["metadata"]["name"], attempts[-1]["number"], 0)]
        status["attempts"] = attempts
    return status


def _whole(job: Object, attempt: Attempt) -> Attempt:
    started = attempt.get("startTime") or job["metadata"].get("creationTimestamp") or "1970-01-01T00:00:00Z"
    whole: Attempt = {**attempt, "startTime": started}
    return whole | {"reason": attempt.get("reason") or UNKNOWN} if "completionTime" in attempt else whole
