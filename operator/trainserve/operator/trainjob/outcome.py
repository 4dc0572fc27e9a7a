"""The outcome of an attempt, derived from its pods: termination messages, exit codes, node and scheduler actions."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from trainserve.api.messages import Failed, Published, Trained, Unreadable
from trainserve.api.reasons import By, Reason, Retry, said_by
from trainserve.api.reported import Said
from trainserve.operator import objects, pods, times
from trainserve.operator.said import as_status, shortened

CONTAINER = "trainer"

EXPLAIN = timedelta(seconds=10)
"""Time for the other pods of a gang to report the cause."""

POD_REASONS = {
    "Preempting": Reason.PREEMPTED,
    "Preempted": Reason.PREEMPTED,
    "Evicted": Reason.PREEMPTED,
    "Shutdown": Reason.PREEMPTED,
    "NodeShutdown": Reason.PREEMPTED,
    "Terminated": Reason.PREEMPTED,
    "NodeLost": Reason.NODE_LOST,
    "UnexpectedAdmissionError": Reason.NODE_REFUSED,
    "NodeAffinity": Reason.NODE_REFUSED,
}
"""The operator's reason for each `status.reason` that kubelets and the node controller write to pods."""

DISRUPTIONS = {"DeletionByTaintManager": Reason.NODE_LOST, "DeletionByPodGC": Reason.NODE_LOST}
"""The operator's reason for reasons of the condition DisruptionTarget (Kubernetes 1.26 and later); any other reason
means that the pod was preempted or evicted."""

_OF_RUNS = said_by(By.RUN) - {Reason.INTERRUPTED, Reason.PORT_TAKEN}
"""Reasons that a run may report by itself. Faults of the cluster are excluded, since they would use up no retry; a
report that the rendezvous port is taken is accepted a few times (`retry`)."""
_TORCHRUN_CANNOT_LISTEN = re.compile(r"\bport: (\d+),.*\bEADDRINUSE\b")
"""Last line of torchrun's log if it cannot listen; it then exits with 1 before it has started any process."""


@dataclass(frozen=True)
class Outcome:
    """How an attempt, or one pod of it, ended."""

    reason: Reason
    message: str
    exit_code: int | None = None
    finished: str | None = None
    """Time of the end in RFC 3339; None if it is not known."""
    succeeded: bool = False
    progress: dict[str, Any] | None = None
    result: dict[str, Any] | None = None
    artifact: dict[str, Any] | None = None
    passed_over: str = ""
    """Entries of the store next to the version that are not versions, as the run reports them."""

    @property
    def infrastructure(self) -> bool:
        """Whether the cluster and not the run caused the failure."""
        return self.reason.retry is Retry.FREE

    @property
    def deterministic(self) -> bool:
        """Whether another attempt would end the same way."""
        return self.reason.retry is Retry.NEVER

    def explains(self, now: datetime) -> bool:
        """Return whether the other pods still have time to report the cause: EXPLAIN since the end, if it is known."""
        return self.finished is not None and times.left(times.from_text(self.finished), EXPLAIN, now) > timedelta()


def believed(outcome: Outcome, is_at: Callable[[str, int], bool]) -> Outcome:
    """Return the outcome, or InvalidResult if the run claims a version at an address where it cannot publish.

    `is_at` returns whether an address is that of a version of the run's own model.
    """
    artifact = outcome.artifact
    if artifact is None or is_at(artifact["uri"], artifact["version"]):
        return outcome
    claim = f"version {artifact['version']} at {shortened(artifact['uri'], 200)}"
    return Outcome(
        Reason.INVALID_RESULT,
        f"the pod's termination message names {claim}, which is no version of this TrainJob's output.model",
        outcome.exit_code,
        outcome.finished,
    )


def of_pod(pod: Mapping[str, Any]) -> Outcome | None:
    """Return the pod's outcome; None while it runs."""
    end = pods.terminated(pod, CONTAINER)
    if pods.phase(pod) == "Succeeded":
        return _succeeded(end or {})
    if pods.phase(pod) == "Failed":
        return _disturbed(pod) or _failed(end, pod)
    waiting = pods.waiting(pod, CONTAINER)
    if waiting is not None and waiting.get("reason") == "InvalidImageName":
        return Outcome(Reason.INVALID_IMAGE, waiting.get("message") or "the image's name is invalid")
    return None


def of_gang(names: list[str], found: Mapping[str, Mapping[str, Any]], now: datetime) -> Outcome | None:
    """Return the attempt's outcome from its pods, `names` with rank 0 first; None while it runs.

    One failed pod ends the gang. If several failed, the cause is a fault of the cluster (the others fail because they
    lose a peer), else a deterministic failure, else the earliest failure. If a pod only reports that it lost its peers,
    they have the time EXPLAIN to report the cause.
    """
    ends = [of_pod(found[name]) if name in found else _vanished(name) for name in names]
    failures = [end for end in ends if end is not None and not end.succeeded]
    if failures:
        outcome = min(failures, key=_weight)
        return None if None in ends and outcome.reason == Reason.RANK_LOST and outcome.explains(now) else outcome
    return ends[0] if all(end is not None for end in ends) else None


def _weight(end: Outcome) -> tuple[bool, bool, bool, str]:
    """Return the sort key that puts the failure which explains the others first."""
    return (not end.infrastructure, not end.deterministic, end.reason == Reason.RANK_LOST, end.finished or "~")


def _succeeded(end: Mapping[str, Any]) -> Outcome:
    said = pods.message(end)
    if isinstance(said, Unreadable):
        return Outcome(Reason.INVALID_RESULT, str(said), 0)
    told = said if isinstance(said, Published | Trained | Failed) else None
    published = said if isinstance(said, Published) else None
    return Outcome(
        Reason.SUCCEEDED,
        "",
        exit_code=0,
        finished=end.get("finishedAt"),
        succeeded=True,
        progress=_kept(told.progress if told else None),
        result=_kept(told.result if told else None),
        artifact=_kept(published.artifact if published else None),
        passed_over=shortened("; ".join((published.passed_over if published else None) or ()), 500),
    )


def _kept(told: Said | None) -> dict[str, Any] | None:
    """Return the JSON form that the status has; None if nothing was reported."""
    return (as_status(told) or None) if told is not None else None


def _failed(end: Mapping[str, Any] | None, pod: Mapping[str, Any]) -> Outcome:
    if end is None:
        return Outcome(Reason.NODE_LOST, pod["status"].get("message") or "the node reported no end of the container")
    code, finished = end.get("exitCode"), end.get("finishedAt")
    if end.get("reason") == "ContainerStatusUnknown":
        return Outcome(Reason.NODE_LOST, "the node lost track of the container", code, finished)
    said = pods.message(end)
    told = said if isinstance(said, Failed) else Failed()
    result, progress = _kept(told.result), _kept(told.progress)
    if end.get("reason") == "OOMKilled":
        return Outcome(Reason.OUT_OF_MEMORY, "the container used more memory than its limit", code, finished)
    if (port := _rendezvous_port(pod)) and port == _taken_port(end, told.reason):
        words = f"port {port}, the gang's rendezvous, is already in use in rank 0's network"
        return Outcome(Reason.PORT_TAKEN, words, code, finished, progress=progress, result=result)
    reason = next((known for known in _OF_RUNS if known == told.reason), None)
    if reason is not None:
        return Outcome(reason, told.message or reason, code, finished, progress=progress, result=result)
    # torchrun exits with 1 when it is stopped, whatever its processes exited with.
    if pods.deleting(pod):
        return Outcome(Reason.INTERRUPTED, "the pod was told to stop", code, finished, progress=progress, result=result)
    if told.reason == Reason.INTERRUPTED or code == Reason.INTERRUPTED.exit_code:
        # As an interruption, a command that always exits with this code would be restarted forever.
        return Outcome(
            Reason.USER_ERROR,
            f"exit code {code}: the run stopped although its pod was not being deleted",
            code,
            finished,
        )
    text = str(said) if isinstance(said, Unreadable) else (end.get("message") or "").strip()
    return Outcome(Reason.USER_ERROR, f"exit code {code}" + (f": {text[-800:]}" if text else ""), code, finished)


def _rendezvous_port(pod: Mapping[str, Any]) -> str | None:
    """Return the rendezvous port in a gang pod's environment (`gang.rendezvous`); None for any other pod."""
    containers = objects.spec(pod).get("containers") or []
    variables = (each for container in containers for each in container.get("env") or ())
    return next((each.get("value") for each in variables if each.get("name") == "PET_MASTER_PORT"), None)


def _taken_port(end: Mapping[str, Any], reason: Any) -> str | None:
    """Return the taken port from torchrun's log or the run's message; None if the failure had another cause."""
    text = end.get("message") or ""
    found = re.search(r"\bport (\d+)\b", text) if reason == Reason.PORT_TAKEN else _TORCHRUN_CANNOT_LISTEN.search(text)
    return found[1] if found else None


def _disturbed(pod: Mapping[str, Any]) -> Outcome | None:
    status = pod["status"]
    message = status.get("message") or ""
    for condition in status.get("conditions") or []:
        if condition["type"] == "DisruptionTarget" and condition["status"] == "True":
            reason = DISRUPTIONS.get(condition.get("reason", ""), Reason.PREEMPTED)
            return Outcome(reason, condition.get("message") or message or condition.get("reason", ""))
    said = status.get("reason") or ""
    known = Reason.NODE_REFUSED if said.startswith("OutOf") else POD_REASONS.get(said)
    return Outcome(known, f"{said}: {message}" if message else said) if known else None


def _vanished(name: str) -> Outcome:
    return Outcome(Reason.PREEMPTED, f"pod {name} was deleted before it ended")
