"""A TrainJob's status as it can be planned from: anybody with the right to may have edited it, and earlier releases
wrote less. What is missing has a default; a field that cannot be read is as if it had never been written."""

from __future__ import annotations

from trainserve.api.reasons import Reason
from trainserve.api.trainjob_status import TrainJobStatus
from trainserve.operator import recorded
from trainserve.operator.plan import Object
from trainserve.operator.trainjob.names import pod_name

UNKNOWN = Reason.USER_ERROR
"""Of an attempt that has ended for a reason which nobody can read any more: it counts against the retries."""


def status(job: Object) -> Object:
    """The status, whose attempts are numbered upwards and have what planning reads."""
    read = recorded.status(job, TrainJobStatus)
    numbered = {attempt["number"]: attempt for attempt in read.get("attempts") or []}
    if numbered:
        attempts = [_whole(job, numbered[number]) for number in sorted(numbered)]
        if not attempts[-1].get("pods"):
            attempts[-1]["pods"] = [pod_name(job["metadata"]["name"], attempts[-1]["number"], 0)]
        read["attempts"] = attempts
    return read


def sections(job: Object) -> Object:
    """The spec's sections that can be read: what runs is followed to its end, whatever has become of its spec."""
    kept = {name: part for name, part in (job.get("spec") or {}).items() if isinstance(part, dict)}
    if not isinstance(kept.get("output", {}).get("model"), str):
        kept.pop("output", None)
    if not isinstance(kept.get("policy", {}).get("retries", 0), int):
        kept.pop("policy", None)
    return kept


def _whole(job: Object, attempt: Object) -> Object:
    started = attempt.get("startTime") or job["metadata"].get("creationTimestamp") or "1970-01-01T00:00:00Z"
    whole = {**attempt, "startTime": started}
    return whole | {"reason": attempt.get("reason") or UNKNOWN} if "completionTime" in attempt else whole
