"""Names of an attempt and its pods. They follow from the job, so that creating them twice is creating them once."""

from __future__ import annotations

import re


def attempt_name(job: str, attempt: int) -> str:
    """Of the attempt's ConfigMap and headless Service."""
    return f"{job}-{attempt}"


def pod_name(job: str, attempt: int, rank: int) -> str:
    """Of one worker."""
    return f"{job}-{attempt}-{rank}"


def place_of(job: str, pod: str) -> tuple[int, int] | None:
    """Attempt and rank of a pod of that name; None for one that is no worker's."""
    found = re.fullmatch(rf"{re.escape(job)}-([1-9][0-9]{{0,9}})-([0-9]{{1,4}})", pod)
    return (int(found[1]), int(found[2])) if found else None
