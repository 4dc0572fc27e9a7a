"""Fields of the API that TrainServe does not act on yet: they are refused by name, never silently ignored."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from trainserve.api.base import ApiType
from trainserve.api.modelserve import ModelServeSpec
from trainserve.api.training import Export, Log, Trainer
from trainserve.api.trainjob import TrainJobSpec


@dataclass(frozen=True)
class Limit:
    """Which values of one field are acted on."""

    field: str
    """Path below spec, as in the manifest."""
    acted_on: Callable[[Any], bool]
    """Asked about the field's value as in the manifest, and only where the field is set."""
    supported: str
    """Values that are supported."""
    where: Callable[[Any], bool] | None = None
    """The specs that the limit concerns; None: all."""


def _never(value: Any) -> bool:
    return False


def _one_of(*values: Any) -> Callable[[Any], bool]:
    return lambda value: value in values


def _runs_own_command(spec: TrainJobSpec) -> bool:
    return spec.model.command is not None


def _of_no_command(field: str, default: ApiType | None = None) -> Limit:
    """Return the limit of a field that applies to TrainServe's trainer and not to a user's own command."""
    unset = () if default is None else (default.model_dump(by_alias=True, exclude_none=True),)
    return Limit(
        field,
        _one_of(*unset),
        "leaving it unset where model.command is set: the command is run as it is",
        where=_runs_own_command,
    )


_RESOURCES = (Limit("resources.gpu.mig", _never, "whole GPUs (leave it unset)"),)

TRAINJOB_LIMITS = (
    *_RESOURCES,
    Limit("export.dynamicBatch", _one_of(True), "true"),
    _of_no_command("dataset"),
    _of_no_command("trainer", Trainer()),
    _of_no_command("checkpoint"),
    _of_no_command("export", Export()),
    _of_no_command("gates"),
    _of_no_command("output"),
    _of_no_command("energy"),
    _of_no_command("log", Log()),
    Limit("policy.suspend", _one_of(False), "false"),
    Limit("policy.activeDeadlineSeconds", _never, "runs without a deadline (leave it unset)"),
    Limit("policy.pendingDeadlineSeconds", _never, "waiting without a deadline (leave it unset)"),
    Limit("policy.ttlSecondsAfterFinished", _never, "keeping finished TrainJobs (leave it unset)"),
)

MODELSERVE_LIMITS = (
    Limit("autoscaling", _never, "a fixed number of replicas (leave it unset)"),
    *_RESOURCES,
    Limit("rollout.strategy", _one_of("BlueGreen"), "BlueGreen"),
    Limit("rollout.steps", _never, "strategy BlueGreen, which has no steps (leave it unset)"),
    Limit("rollout.interval", _never, "strategy BlueGreen, which has no interval (leave it unset)"),
)


def unsupported(spec: TrainJobSpec | ModelServeSpec) -> list[str]:
    """Return one line for each field whose value TrainServe does not act on yet; empty if all values are supported."""
    limits = TRAINJOB_LIMITS if isinstance(spec, TrainJobSpec) else MODELSERVE_LIMITS
    manifest = spec.model_dump(by_alias=True, exclude_none=True)
    problems = []
    for limit in limits:
        value = _value_at(manifest, limit.field)
        concerned = limit.where is None or limit.where(spec)
        if value is not None and concerned and not limit.acted_on(value):
            problems.append(
                f"spec.{limit.field}: {json.dumps(value)} is not supported yet; supported now: {limit.supported}"
            )
    return problems


def _value_at(manifest: Mapping[str, Any], path: str) -> Any:
    value: Any = manifest
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
