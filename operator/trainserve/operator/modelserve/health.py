"""A version's health, from its pods: whether it is verified, its latency, and what prevents it from serving."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from trainserve.api import messages
from trainserve.api.messages import Failed, Report, Unreadable
from trainserve.api.pod import Endpoint, Port
from trainserve.api.reasons import By, Reason, said_by
from trainserve.operator import objects, pods
from trainserve.operator.conditions import Condition
from trainserve.operator.kinds import Answers
from trainserve.operator.objects import Object
from trainserve.operator.poller import Target

UNVERIFIED_EVERY = 0.5
VERIFIED_EVERY = 30.0
"""Seconds between two requests to a pod's probe."""

UNSCHEDULABLE = "Unschedulable"
REPLICA_FAILURE = "ReplicaFailure"
"""Condition of a Deployment whose pods the API server rejects, and the operator's reason for it."""
VERIFIED_BY_READINESS = Condition(
    "Verified",
    "True",
    Reason.SAMPLES_MATCH,
    "every pod is ready, which its probe allows only once the samples match",
)
FETCH_REASONS = said_by(By.FETCH)
"""Reasons that the init container may report when it gives up."""
_WRONG_BYTES = (Reason.DIGEST_MISMATCH, Reason.SIGNATURE_REFUSED, Reason.VERSION_MISMATCH)
_ERROR = re.compile(r"^[EF]\d{4} \S+ +\d+ \S+\] (.*)$", re.MULTILINE)
"""Error line of Triton's log, such as `E1122 22:27:23.091307 25581 model_repository_manager.cc:1460] "Poll failed …"`.
"""
_HARMLESS = "CudaDriverHelper has not been initialized"
"""Text that Triton logs as an error on every machine without a GPU."""
_CONSEQUENCE = "contains models that are not available"
"""Text that Triton logs about an ensemble after the actual error of one of its steps."""


class Trouble(NamedTuple):
    """Reason and message that explain why a version does not become ready."""

    reason: str
    message: str


def targets(serving: Iterable[Object], answers: Answers) -> dict[str, Target]:
    """Return the report endpoint of every running pod, by uid; it is polled more often until the pod is verified."""
    asked = {}
    for pod in serving:
        address = pods.address(pod)
        if address and pods.phase(pod) == "Running" and not pods.deleting(pod):
            report = messages.answered(Report, answers.get(pod["metadata"]["uid"]))
            verified = report is not None and report.verified is True and pods.is_ready(pod)
            every = VERIFIED_EVERY if verified else UNVERIFIED_EVERY
            asked[pod["metadata"]["uid"]] = Target(f"http://{address}:{Port.PROBE}{Endpoint.REPORT}", every)
    return asked


def verified(serving: Sequence[Object], answers: Answers) -> Condition:
    """Return the condition `Verified`, which is false as soon as one pod has found a mismatch."""
    for pod in serving:
        trouble = fetch_failure(pod)
        if trouble is not None and trouble.reason in _WRONG_BYTES:
            return Condition("Verified", "False", trouble.reason, trouble.message)
    reports = _reports(serving, answers)
    for report in reports:
        if report.verified is False:
            return Condition("Verified", "False", Reason.OUTPUT_MISMATCH, report.message or Reason.OUTPUT_MISMATCH)
    for report in reports:
        if report.verified is True and report.reason == Reason.NOTHING_RECORDED:
            return Condition("Verified", "Unknown", Reason.NOTHING_RECORDED, report.message or Reason.NOTHING_RECORDED)
        if report.verified is True:
            return Condition("Verified", "True", Reason.SAMPLES_MATCH, report.message or Reason.SAMPLES_MATCH)
    for report in reports:
        if report.reason == Reason.INFERENCE_FAILED:
            return Condition("Verified", "Unknown", Reason.INFERENCE_FAILED, report.message or Reason.INFERENCE_FAILED)
    return Condition("Verified", "Unknown", "Pending", "no pod has sent its recorded samples through the server yet")


def batched(serving: Sequence[Object], answers: Answers) -> Condition | None:
    """Return the condition `Batched` from the first report that includes it; None if no report does."""
    for report in _reports(serving, answers):
        if (told := report.batching) is not None:
            joined = told.axis == "first"
            words = told.reason or "the pod does not say why"
            return Condition("Batched", "True" if joined else "False", "Gathered" if joined else "OneByOne", words)
    return None


def latency(serving: Sequence[Object], answers: Answers) -> dict[str, float] | None:
    """Return the largest of the pods' percentiles in milliseconds, or None if no pod has reported any.

    Percentiles of several pods cannot be combined.
    """
    reports = _reports(serving, answers)
    told = {"p50Ms": [report.p50_ms for report in reports], "p99Ms": [report.p99_ms for report in reports]}
    known = {name: [figure for figure in figures if figure is not None] for name, figures in told.items()}
    return {name: max(round(figure, 2) for figure in figures) for name, figures in known.items() if figures} or None


def trouble(serving: Sequence[Object], answers: Answers) -> Trouble | None:
    """Return the first cause found for a pod that is not ready; None if there is none."""
    for pod in serving:
        if pods.is_ready(pod) or pods.deleting(pod):
            continue
        found = fetch_failure(pod) or _refused_by_server(pod) or why_not_running(pod, "fetch", "triton", "probe")
        if found is not None:
            return found
    judged = verified(serving, answers)
    failed = judged.status == "False" or judged.reason == Reason.INFERENCE_FAILED
    return Trouble(judged.reason, judged.message) if failed else None


def refused_pods(deployment: Mapping[str, Any]) -> Trouble | None:
    """Return why pods of a Deployment are not created, with the API server's message; None if they are.

    The cause may be a quota, Pod Security or an admission policy.
    """
    status = objects.status(deployment)
    if status.get("observedGeneration", 0) < objects.generation(deployment):
        return None  # the status is that of an earlier template
    for condition in status.get("conditions") or []:
        # ReplicaSetCreateError concerns the ReplicaSet itself: a quota may limit their number.
        failed = condition["type"] == REPLICA_FAILURE and condition["status"] == "True"
        if failed or (condition["status"] == "False" and condition.get("reason") == "ReplicaSetCreateError"):
            return Trouble(REPLICA_FAILURE, str(condition.get("message") or condition.get("reason")))
    return None


def why_not_running(pod: Object, *containers: str) -> Trouble | None:
    """Return what prevents a pod from running one of these containers, with the scheduler's or the node's message; None
    if nothing does."""
    message = pods.unschedulable(pod)
    if message is not None:
        return Trouble(UNSCHEDULABLE, message)
    for name in containers:
        waiting, end = pods.waiting(pod, name) or {}, pods.terminated(pod, name)
        if (failure := pods.start_failure(pod, name)) is not None:
            return Trouble(failure[0], f"container {name}: {failure[1]}")
        if end is not None and end.get("reason") == "OOMKilled":
            return Trouble(Reason.OUT_OF_MEMORY, f"container {name} used more memory than its limit")
        if waiting.get("reason") == "CrashLoopBackOff":
            code = end.get("exitCode") if end else None
            words = _last_line(end)
            return Trouble("CrashLoop", f"container {name} keeps exiting, last with exit code {code}{words}")
    return None


def _reports(serving: Sequence[Object], answers: Answers) -> list[Report]:
    told = (messages.answered(Report, answers.get(pod["metadata"]["uid"])) for pod in serving)
    return [report for report in told if report is not None]


def _refused_by_server(pod: Object) -> Trouble | None:
    """Return the last error that Triton logged before it exited, such as an invalid configuration; None if it logged
    none."""
    end = pods.terminated(pod, "triton")
    if end is None or not end.get("exitCode") or end.get("reason") == "OOMKilled":
        return None
    errors = [error for error in _ERROR.findall(end.get("message") or "") if _HARMLESS not in error]
    if not errors:
        return None
    causes = [error for error in errors if _CONSEQUENCE not in error]
    words = (causes or errors)[-1].strip('"').partition(r"\n\nAt:")[0].replace(r"\n", " ").strip()
    return Trouble("ServerFailed", f"tritonserver: {words}")


def _last_line(end: Mapping[str, Any] | None) -> str:
    lines = str((end or {}).get("message") or "").strip().splitlines()
    return f": {lines[-1]}" if lines else ""


def fetch_failure(pod: Mapping[str, Any]) -> Trouble | None:
    """Return why the init container failed to fetch the model; None if it has not failed."""
    end = pods.terminated(pod, "fetch")
    if end is None or end.get("exitCode") == 0:
        return None
    said = pods.message(end)
    if isinstance(said, Failed) and said.reason in FETCH_REASONS:
        return Trouble(said.reason, said.message or said.reason)
    words = said if isinstance(said, Unreadable) else end.get("message") or ""
    return Trouble("FetchFailed", f"container fetch ended with exit code {end.get('exitCode')}: {words}")
