"""What a version's pods say about it: whether it is verified, how fast it answers, what keeps it from serving."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from trainserve.api import messages
from trainserve.api.messages import Failed, Report, Unreadable
from trainserve.api.pod import Endpoint, Port
from trainserve.api.reasons import By, Reason, said_by
from trainserve.operator import pods
from trainserve.operator.conditions import Condition
from trainserve.operator.kinds import Answers
from trainserve.operator.plan import Object
from trainserve.operator.poller import Target

UNVERIFIED_EVERY = 0.5
VERIFIED_EVERY = 30.0
"""Seconds between two questions to a pod's probe."""

UNSCHEDULABLE = "Unschedulable"
REPLICA_FAILURE = "ReplicaFailure"
"""Condition of a Deployment some of whose pods the API server does not take, and our reason for it."""
VERIFIED_BY_READINESS = Condition(
    "Verified",
    "True",
    Reason.SAMPLES_MATCH,
    "every pod is ready, and a probe lets it be so only once the samples match",
)
FETCH_REASONS = said_by(By.FETCH)
"""Why the init container gives up, as it says itself."""
_WRONG_BYTES = (Reason.DIGEST_MISMATCH, Reason.SIGNATURE_REFUSED, Reason.VERSION_MISMATCH)
_ERROR = re.compile(r"^[EF]\d{4} \S+ +\d+ \S+\] (.*)$", re.MULTILINE)
"""Of Triton's log: `E1122 22:27:23.091307 25581 model_repository_manager.cc:1460] "Poll failed …"`."""
_HARMLESS = "CudaDriverHelper has not been initialized"
"""What it calls an error on every machine without a GPU."""
_CONSEQUENCE = "contains models that are not available"
"""What it says of an ensemble after it has said what is wrong with a step of it."""


class Trouble(NamedTuple):
    """Why a version does not become ready."""

    reason: str
    message: str


def targets(serving: Iterable[Object], answers: Answers) -> dict[str, Target]:
    """The probe of every pod that has an address, often until it has verified its samples."""
    asked = {}
    for pod in serving:
        address = (pod.get("status") or {}).get("podIP")
        if address and (pod["status"].get("phase") == "Running") and not pods.deleting(pod):
            report = messages.answered(Report, answers.get(pod["metadata"]["uid"]))
            verified = report is not None and report.verified is True and pods.is_ready(pod)
            every = VERIFIED_EVERY if verified else UNVERIFIED_EVERY
            asked[pod["metadata"]["uid"]] = Target(f"http://{address}:{Port.PROBE}{Endpoint.REPORT}", every)
    return asked


def verified(serving: Sequence[Object], answers: Answers) -> Condition:
    """The condition `Verified`: every pod that has judged its version must have found it right."""
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
    """The condition `Batched`, as a pod's probe says it: whether requests are gathered, and why; None until one has."""
    for report in _reports(serving, answers):
        if (told := report.batching) is not None:
            joined = told.axis == "first"
            words = told.reason or "the pod does not say why"
            return Condition("Batched", "True" if joined else "False", "Gathered" if joined else "OneByOne", words)
    return None


def latency(serving: Sequence[Object], answers: Answers) -> dict[str, float] | None:
    """The slowest pod's figures, in milliseconds: percentiles of several pods cannot be added up."""
    reports = _reports(serving, answers)
    told = {"p50Ms": [report.p50_ms for report in reports], "p99Ms": [report.p99_ms for report in reports]}
    known = {name: [figure for figure in figures if figure is not None] for name, figures in told.items()}
    return {name: max(round(figure, 2) for figure in figures) for name, figures in known.items() if figures} or None


def trouble(serving: Sequence[Object], answers: Answers) -> Trouble | None:
    """The first reason found for which a pod is not ready."""
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
    """Why pods of a Deployment are not even made, in the API server's words: a quota, Pod Security, a policy."""
    status = deployment.get("status") or {}
    if status.get("observedGeneration", 0) < deployment["metadata"].get("generation", 1):
        return None  # it speaks of an earlier template
    for condition in status.get("conditions") or []:
        # The second is of the ReplicaSet itself, of which a quota may count the number.
        failed = condition["type"] == REPLICA_FAILURE and condition["status"] == "True"
        if failed or (condition["status"] == "False" and condition.get("reason") == "ReplicaSetCreateError"):
            return Trouble(REPLICA_FAILURE, str(condition.get("message") or condition.get("reason")))
    return None


def why_not_running(pod: Object, *containers: str) -> Trouble | None:
    """What keeps a pod from running one of these containers, as the scheduler and the node say it."""
    message = pods.unschedulable(pod)
    if message is not None:
        return Trouble(UNSCHEDULABLE, message)
    for name in containers:
        waiting, end = pods.waiting(pod, name) or {}, pods.terminated(pod, name)
        said = f"container {name}: {waiting.get('message') or waiting.get('reason')}"
        if waiting.get("reason") in pods.PULL_FAILURES:
            return Trouble("ImagePull", said)
        if waiting.get("reason") in pods.CREATE_FAILURES:
            return Trouble("ContainerConfig", said)
        if end is not None and end.get("reason") == "OOMKilled":
            return Trouble(Reason.OUT_OF_MEMORY, f"container {name} used more memory than its limit")
        if waiting.get("reason") == "CrashLoopBackOff":
            code = end.get("exitCode") if end else None
            words = _last_line(end)
            return Trouble("CrashLoop", f"container {name} keeps ending, last with exit code {code}{words}")
    return None


def _reports(serving: Sequence[Object], answers: Answers) -> list[Report]:
    told = (messages.answered(Report, answers.get(pod["metadata"]["uid"])) for pod in serving)
    return [report for report in told if report is not None]


def _refused_by_server(pod: Object) -> Trouble | None:
    """Why Triton ended by itself: the last error that it wrote, such as that of a configuration it does not take."""
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
    """Why nothing was fetched."""
    end = pods.terminated(pod, "fetch")
    if end is None or end.get("exitCode") == 0:
        return None
    said = pods.message(end)
    if isinstance(said, Failed) and said.reason in FETCH_REASONS:
        return Trouble(said.reason, said.message or said.reason)
    words = said if isinstance(said, Unreadable) else end.get("message") or ""
    return Trouble("FetchFailed", f"container fetch ended with exit code {end.get('exitCode')}: {words}")
