"""Names of an attempt and its pods. They follow from the job, so that creating them twice is creating them once."""

from __future__ import annotations


def attempt_name(job: str, attempt: int) -> str:
    """Of the attempt's ConfigMap and headless Service."""
    return f"{job}-{attempt}"


def pod_name(job: str, attempt: int, rank: int) -> str:
    """Of one worker."""
    return f"{job}-{attempt}-{rank}"
