"""What became of an attempt, read from its pods: termination messages, exit codes, and what the node and scheduler
did."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from trainserve.api.messages import Failed, Published, Trained, Unreadable
from trainserve.api.reasons import By, Reason, Retry, said_by
from trainserve.api.reported import Said
from trainserve.operator import pods, times
from trainserve.operator.said import as_status, shortened

CONTAINER = "trainer"

EXPLAIN = timedelta(seconds=10)
"""How long the other pods of a gang have to say why."""

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
"""`status.reason` of pods, as kubelets and the node controller write it."""

DISRUPTIONS = {"DeletionByTaintManager": Reason.NODE_LOST, "DeletionByPodGC": Reason.NODE_LOST}
"""Reasons of the condition DisruptionTarget (Kubernetes 1.26 on); every other one means preempted or evicted."""

_OF_RUNS = said_by(By.RUN) - {Reason.INTERRUPTED, Reason.PORT_TAKEN}
"""What a run is believed of itself. A fault of the cluster, which uses up no retry, is not among it; that the very port
is taken which it was given, is believed a few times (`retry`)."""
_TORCHRUN_CANNOT_LISTEN = re.compile(r"\bport: (\d+),.*\bEADDRINUSE\b")
"""The last line of torchrun's log, which ends with 1 before it has started any process."""


@dataclass(frozen=True)
class Outcome:
    """How an attempt, or one pod of it, ended."""

    reason: Reason
    message: str
    exit_code: int | None = None
    finished: str | None = None
    """RFC 3339; None when nobody saw the end."""
    succeeded: bool = False
    progress: dict[str, Any] | None = None
    result: dict[str, Any] | None = None
    artifact: dict[str, Any] | None = None
    passed_over: str = ""
    """What lies in the store beside the version and is none, in the run's words."""

    @property
    def infrastructure(self) -> bool:
        """Whether the cluster is to blame, rather than the run."""
        return self.reason.retry is Retry.FREE

    @property
    def deterministic(self) -> bool:
        """Whether it would end the same way again."""
        return self.reason.retry is Retry.NEVER

    def explains(self, now: datetime) -> bool:
        """Whether EXPLAIN is not over yet; there is none where nobody saw the end."""
        return self.finished is not None and times.left(times.from_text(self.finished), EXPLAIN, now) > timedelta()


def believed(outcome: Outcome, is_at: Callable[[str, int], bool]) -> Outcome:
    """The outcome, but no success of a run that claims a version where it cannot have published one. `is_at` tells
    whether an address is that of a version of the run's own model."""
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
    """The pod's outcome; None while it goes on."""
    status = pod.get("status") or {}
    end = pods.terminated(pod, CONTAINER)
    if status.get("phase") == "Succeeded":
        return _succeeded(end or {})
    if status.get("phase") == "Failed":
        return _disturbed(pod) or _failed(end, pod)
    waiting = pods.waiting(pod, CONTAINER)
    if waiting is not None and waiting.get("reason") == "InvalidImageName":
        return Outcome(Reason.INVALID_IMAGE, waiting.get("message") or "the image's name is invalid")
    return None


def of_gang(names: list[str], found: Mapping[str, Mapping[str, Any]], now: datetime) -> Outcome | None:
    """The attempt's outcome from its pods by name, rank 0 first; None while it goes on.

    One failed pod ends the gang. When several failed, a fault of the cluster explains the others (a lost peer makes
    the rest fail with errors of their own), and so does what only the run itself can find wrong; else the pod that
    failed first does. A pod that only lost its peers leaves them EXPLAIN to say why.
    """
    ends = [of_pod(found[name]) if name in found else _vanished(name) for name in names]
    failures = [end for end in ends if end is not None and not end.succeeded]
    if failures:
        outcome = min(failures, key=_weight)
        return None if None in ends and outcome.reason == Reason.RANK_LOST and outcome.explains(now) else outcome
    return ends[0] if all(end is not None for end in ends) else None


def _weight(end: Outcome) -> tuple[bool, bool, bool, str]:
    """The one that explains the others comes first."""
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
    """In the form that the status has; None where nothing was told."""
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
        words = f"port {port}, where the gang was to meet, is taken in rank 0's network"
        return Outcome(Reason.PORT_TAKEN, words, code, finished, progress=progress, result=result)
    reason = next((known for known in _OF_RUNS if known == told.reason), None)
    if reason is not None:
        return Outcome(reason, told.message or reason, code, finished, progress=progress, result=result)
    # torchrun exits 1 when it is told to stop, whatever its processes answered.
    if pods.deleting(pod):
        return Outcome(Reason.INTERRUPTED, "the pod was told to stop", code, finished, progress=progress, result=result)
    if told.reason == Reason.INTERRUPTED or code == Reason.INTERRUPTED.exit_code:
        # Else a command that ends itself in this way would be started anew without end.
        return Outcome(
            Reason.USER_ERROR, f"exit code {code}: the run stopped, and nobody had told its pod to", code, finished
        )
    text = str(said) if isinstance(said, Unreadable) else (end.get("message") or "").strip()
    return Outcome(Reason.USER_ERROR, f"exit code {code}" + (f": {text[-800:]}" if text else ""), code, finished)


def _rendezvous_port(pod: Mapping[str, Any]) -> str | None:
    """The port that a pod of a gang was told to meet on (`gang.rendezvous`)."""
    containers = (pod.get("spec") or {}).get("containers") or []
    variables = (each for container in containers for each in container.get("env") or ())
    return next((each.get("value") for each in variables if each.get("name") == "PET_MASTER_PORT"), None)


def _taken_port(end: Mapping[str, Any], reason: Any) -> str | None:
    """The port that is taken, by torchrun's log or in the run's own words; None where the end had another cause."""
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
