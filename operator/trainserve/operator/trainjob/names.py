"""Names of an attempt and its pods. They follow from the job, so that a repeated creation makes no second object."""

from __future__ import annotations

import re

CHECK = "-check"
"""Suffix of the pod that checks the store; no other pod of a TrainJob has it."""


def attempt_name(job: str, attempt: int) -> str:
    """Return the name of the attempt's ConfigMap and headless Service."""
    return f"{job}-{attempt}"


def pod_name(job: str, attempt: int, rank: int) -> str:
    """Return the name of the worker pod of that rank."""
    return f"{job}-{attempt}-{rank}"


def check_name(job: str, attempt: int) -> str:
    """Return the name of the pod that checks whether the store holds the version that the attempt published."""
    return f"{job}-{attempt}{CHECK}"


def place_of(job: str, pod: str) -> tuple[int, int] | None:
    """Return the attempt and the rank of the worker pod named `pod`; None if it is not a worker's name."""
    found = re.fullmatch(rf"{re.escape(job)}-([1-9][0-9]{{0,9}})-([0-9]{{1,4}})", pod)
    return (int(found[1]), int(found[2])) if found else None
