"""What the API has fields for but TrainServe does not act on yet: refused by name, never silently ignored."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from trainserve.api.modelserve import ModelServeSpec
from trainserve.api.trainjob import Export, TrainJobSpec


@dataclass(frozen=True)
class Limit:
    """Which values of one field are acted on."""

    field: str
    """Path below spec, as in the manifest."""
    acted_on: Callable[[Any], bool]
    """Asked about the field's value as in the manifest, and only where the field is set."""
    supported: str
    """What can be written instead."""
    where: Callable[[Any], bool] = lambda spec: True
    """The specs that the limit concerns."""


def _never(value: Any) -> bool:
    return False


def _one_of(*values: Any) -> Callable[[Any], bool]:
    return lambda value: value in values


def _runs_own_command(spec: TrainJobSpec) -> bool:
    return spec.model.command is not None


_RESOURCES = (Limit("resources.gpu.mig", _never, "whole GPUs (leave it unset)"),)

TRAINJOB_LIMITS = (
    Limit("model.name", lambda name: "/" not in name, "names of the built-in zoo, such as convnet"),
    Limit("model.options", lambda options: not options, "the zoo model as it is (leave it unset)"),
    Limit("model.script", _never, "model.command"),
    Limit(
        "dataset.uri",
        lambda uri: uri.startswith("pvc://") and uri.endswith(".npz"),
        "pvc://<claim>/<path>.npz",
    ),
    Limit("trainer.precision", _one_of("auto", "fp32"), "auto, fp32"),
    Limit("workers.nodes", _one_of(1), "1"),
    Limit("workers.processesPerNode", _one_of("auto", 1), "auto, 1"),
    *_RESOURCES,
    Limit("checkpoint", _never, "runs without checkpoints (leave it unset)"),
    Limit("export.precision", _one_of("fp32"), "fp32"),
    Limit("export.dynamicBatch", _one_of(True), "true"),
    Limit(
        "export",
        _one_of(Export().model_dump(by_alias=True)),
        "the defaults where model.command is set: its result is not exported",
        where=_runs_own_command,
    ),
    Limit("gates", _never, "gates of zoo models: leave it unset where model.command is set", where=_runs_own_command),
    Limit(
        "output", _never, "publishing zoo models: leave it unset where model.command is set", where=_runs_own_command
    ),
    Limit("policy.suspend", _one_of(False), "false"),
    Limit("policy.activeDeadlineSeconds", _never, "runs without a deadline (leave it unset)"),
    Limit("policy.pendingDeadlineSeconds", _never, "waiting without a deadline (leave it unset)"),
    Limit("policy.ttlSecondsAfterFinished", _never, "keeping finished TrainJobs (leave it unset)"),
)

MODELSERVE_LIMITS = (
    Limit("autoscaling", _never, "a fixed number of replicas (leave it unset)"),
    *_RESOURCES,
    Limit("triton.warmup", _one_of(False), "false"),
    Limit("triton.responseCache", _one_of(False), "false"),
    Limit("slo", _never, "settings under triton (leave it unset)"),
    Limit("rollout.strategy", _one_of("BlueGreen"), "BlueGreen"),
    Limit("rollout.steps", _never, "strategy BlueGreen, which has no steps (leave it unset)"),
    Limit("rollout.interval", _never, "strategy BlueGreen, which has no interval (leave it unset)"),
)


def unsupported(spec: TrainJobSpec | ModelServeSpec) -> list[str]:
    """One line for each field that is set to something TrainServe does not act on yet; empty where all is acted on."""
    limits = TRAINJOB_LIMITS if isinstance(spec, TrainJobSpec) else MODELSERVE_LIMITS
    manifest = spec.model_dump(by_alias=True, exclude_none=True)
    problems = []
    for limit in limits:
        value = _value_at(manifest, limit.field)
        if value is not None and limit.where(spec) and not limit.acted_on(value):
            problems.append(
                f"spec.{limit.field}: {json.dumps(value)} is not supported yet; supported now: {limit.supported}"
            )
    return problems


def _value_at(manifest: Mapping[str, Any], path: str) -> Any:
    value: Any = manifest
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
