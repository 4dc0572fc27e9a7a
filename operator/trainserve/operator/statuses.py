"""Typed views of the JSON statuses of TrainJob and ModelServe, and a reader for a status that may be invalid.

Fields have the names of `trainserve.api`: `tests/operator/test_statuses.py` checks them against the API types.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NotRequired, TypedDict, cast

from pydantic import ValidationError

from trainserve.api.base import StatusType
from trainserve.operator import objects
from trainserve.operator.objects import Object

Truth = Literal["True", "False", "Unknown"]


class Condition(TypedDict):
    """A condition as in Kubernetes' metav1.Condition."""

    type: str
    status: Truth
    reason: str
    message: str
    lastTransitionTime: str
    observedGeneration: NotRequired[int]


class Status(TypedDict, total=False):
    """The fields that the statuses of both kinds share."""

    phase: str
    conditions: list[Condition]
    observedGeneration: int


class Attempt(TypedDict, total=False):
    """One start of a TrainJob's gang."""

    number: int
    pods: list[str]
    startTime: str
    completionTime: str
    exitCode: int
    reason: str
    message: str


class TrainJobStatus(Status, total=False):
    """The status of a TrainJob."""

    startTime: str
    completionTime: str
    specDigests: dict[str, str]
    attempts: list[Attempt]
    attemptsDropped: int
    progress: Object
    result: Object
    artifact: Object
    columns: Object


class Entry(TypedDict, total=False):
    """A version that received traffic, and since when; a standalone .onnx file has no version number."""

    version: int | None
    digest: str
    time: str


class ModelServeStatus(Status, total=False):
    """The status of a ModelServe."""

    url: str
    grpcUrl: str
    version: int | None
    digest: str
    replicas: dict[str, int]
    latency: dict[str, float]
    tuning: Object
    history: list[Entry]
    columns: Object


def of_trainjob(job: Mapping[str, Any]) -> TrainJobStatus:
    """Return the status as it is, valid or not; empty if there is none yet."""
    return cast(TrainJobStatus, objects.status(job))


def of_modelserve(serve: Mapping[str, Any]) -> ModelServeStatus:
    """Return the status as it is, valid or not; empty if there is none yet."""
    return cast(ModelServeStatus, objects.status(serve))


def readable(owner: Mapping[str, Any], model: type[StatusType]) -> Object:
    """Return the status in the form of `model`, without invalid parts: users with write access may have edited it.

    An invalid entry of a list is dropped if other entries remain; otherwise the whole field is dropped.
    """
    found = owner.get("status")
    kept: Any = dict(found) if isinstance(found, Mapping) else {}
    while True:
        try:
            return model.model_validate(kept).model_dump(mode="json", by_alias=True, exclude_none=True)
        except ValidationError as error:
            for field, wrong in _wrong(error).items():
                known = kept.pop(field, None)
                rest = [each for at, each in enumerate(known) if at not in wrong] if isinstance(known, list) else []
                if wrong and rest:
                    kept[field] = rest


def _wrong(error: ValidationError) -> dict[str, set[int]]:
    """Return the invalid fields, each with the indices of its invalid entries if it is a list."""
    found: dict[str, set[int]] = {}
    for detail in error.errors(include_url=False, include_context=False, include_input=False):
        field, *inner = detail["loc"]
        found.setdefault(str(field), set()).update(step for step in inner[:1] if isinstance(step, int))
    return found
