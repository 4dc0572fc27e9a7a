"""A TrainJob's conditions from its pods, and its phase from its conditions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from trainserve.operator import conditions, pods
from trainserve.operator.conditions import Condition
from trainserve.operator.objects import Object
from trainserve.operator.trainjob.outcome import CONTAINER


def observe(gang: Sequence[Object]) -> list[Condition]:
    """Return the conditions `Scheduled` and `Running` of an attempt in progress, from its pods."""
    return [_scheduled(gang), _running(gang)]


def phase(known: Iterable[Mapping[str, Any]]) -> str:
    """Return the phase: Refused, Pending, Unschedulable, Running, Restarting, Complete or Failed."""
    found = {condition["type"]: condition for condition in known}
    if conditions.is_true(found.values(), "Complete"):
        return "Complete"
    if conditions.is_true(found.values(), "Failed"):
        return "Failed"
    if found["Accepted"]["status"] == "False" and "Running" not in found:
        return "Refused"
    if conditions.is_true(found.values(), "Running"):
        return "Running"
    if found.get("Scheduled", {}).get("reason") == "Unschedulable":
        return "Unschedulable"
    if found.get("Running", {}).get("reason", "Pending") not in WAITING:
        return "Restarting"
    return "Pending"


WAITING = ("Pending", "ImagePull", "ContainerConfig")
"""Reasons of Running=False for an attempt that has not started *yet*; any other means that the previous one failed."""


def _scheduled(gang: Sequence[Object]) -> Condition:
    for pod in gang:
        if (message := pods.unschedulable(pod)) is not None:
            return Condition("Scheduled", "False", "Unschedulable", message)
    if all(pods.scheduled(pod) for pod in gang):
        return Condition("Scheduled", "True", "Scheduled", "every pod has a node")
    return Condition("Scheduled", "False", "Pending", "the pods are created")


def _running(gang: Sequence[Object]) -> Condition:
    for pod in gang:
        if (failure := pods.start_failure(pod, CONTAINER)) is not None:
            reason, message = failure
            return Condition("Running", "False", reason, f"{pod['metadata']['name']}: {message}")
    if all(pods.phase(pod) in ("Running", "Succeeded") for pod in gang):
        return Condition("Running", "True", "Running", "every pod runs")
    return Condition("Running", "False", "Pending", "the pods are starting")
