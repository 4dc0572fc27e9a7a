"""Names of an attempt and its pods. They follow from the job, so that creating them twice is creating them once."""

from __future__ import annotations

import re

CHECK = "-check"
"""Suffix of the pod that asks the store; no other pod of a TrainJob has it."""


def attempt_name(job: str, attempt: int) -> str:
    """Return the name of the attempt's ConfigMap and headless Service."""
    return f"{job}-{attempt}"


def pod_name(job: str, attempt: int, rank: int) -> str:
    """Return the name of one worker."""
    return f"{job}-{attempt}-{rank}"


def check_name(job: str, attempt: int) -> str:
    """Return the name of the pod that looks whether the store holds what the attempt published."""
    return f"{job}-{attempt}{CHECK}"


def place_of(job: str, pod: str) -> tuple[int, int] | None:
    """Return attempt and rank of a pod of that name; None if no worker is named so."""
    found = re.fullmatch(rf"{re.escape(job)}-([1-9][0-9]{{0,9}})-([0-9]{{1,4}})", pod)
    return (int(found[1]), int(found[2])) if found else None
