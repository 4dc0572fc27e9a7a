"""What a TrainJob needs next: a pure function of its spec, its status, its pods and the time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from trainserve.api.reasons import Reason
from trainserve.api.trainjob_status import TrainJobStatus
from trainserve.operator import conditions, labels, pods, said, times
from trainserve.operator.conditions import Condition
from trainserve.operator.plan import Delete, Event, Object, Plan
from trainserve.operator.settings import Settings
from trainserve.operator.specs import parse_trainjob
from trainserve.operator.trainjob import held, recorded, retry
from trainserve.operator.trainjob.attempts import bounded
from trainserve.operator.trainjob.builders import attempt_objects
from trainserve.operator.trainjob.checks import first_refusal
from trainserve.operator.trainjob.digests import spec_digests
from trainserve.operator.trainjob.names import place_of
from trainserve.operator.trainjob.outcome import EXPLAIN, Outcome, believed, of_gang
from trainserve.operator.trainjob.state import observe, phase

FORCE_AFTER = timedelta(seconds=60)
"""Past its grace period, a pod that is still there is on a node that does not answer."""


def plan(
    job: Object, children: list[Object], progress: Mapping[str, Any] | None, settings: Settings, now: datetime
) -> Plan:
    """Decide the next step. `progress` is what rank 0 of the current attempt said last, if it was asked."""
    return _Planner(job | {"status": recorded.status(job)}, children, progress, settings, now).plan()


class _Planner:
    """One pass over one job: reads `job` and `children`, collects into `result`."""

    def __init__(
        self,
        job: Object,
        children: list[Object],
        progress: Mapping[str, Any] | None,
        settings: Settings,
        now: datetime,
    ) -> None:
        self.stored, self.job = job, job | {"spec": recorded.sections(job)}
        self.settings, self.now, self.progress = settings, now, progress
        self.name, self.uid = job["metadata"]["name"], job["metadata"]["uid"]
        self.old: Object = job.get("status") or {}
        self.status: Object = dict(self.old)
        self.attempts: list[Object] = [dict(attempt) for attempt in self.old.get("attempts") or []]
        own = [child for child in children if child["kind"] == "Pod" and labels.owned_by(child, self.uid)]
        self.looks = {pod["metadata"]["name"]: pod for pod in own if pod["metadata"]["name"].endswith(held.SUFFIX)}
        self.pods = {name: pod for pod in own if (name := pod["metadata"]["name"]) not in self.looks}
        self.places = {name: place for name in self.pods if (place := place_of(self.name, name)) is not None}
        self.observed: list[Condition] = []
        self.result = Plan(status={})

    def plan(self) -> Plan:
        refusal = first_refusal(self.stored, self.settings)
        if refusal is None:
            self._observe("Accepted", "True", "Accepted", "the spec is valid")
        else:
            self._observe("Accepted", "False", refusal.reason, refusal.message)
            self._warn(refusal.reason, refusal.message, f"{refusal.reason}-{self._generation}")
        known = self.old.get("conditions")
        succeeded = next((attempt for attempt in self.attempts if attempt.get("reason") == Reason.SUCCEEDED), None)
        if succeeded is not None and not conditions.is_true(known, "Complete"):
            # Whatever else the status says: a replica whose view was old may have written over the end.
            self._succeed(succeeded, self.status.get("artifact"))
        elif any(conditions.is_true(known, kind) for kind in ("Complete", "Failed")):
            self._stop(self._alive())
        else:
            self._advance(accepted=refusal is None)
        return self._finish()

    def _advance(self, *, accepted: bool) -> None:
        latest = self.attempts[-1] if self.attempts else None
        unrecorded = max((attempt for attempt, _ in self.places.values()), default=0)
        outcome = self._outcome(latest) if latest else None
        if latest is not None and outcome is not None and outcome.succeeded:
            self._follow(latest)
        elif unrecorded > (latest["number"] if latest else 0):
            # The operator died, or its status write was lost, between creating these pods and recording them.
            self._take_up(unrecorded, latest, accepted)
        elif latest is None:
            self._start(1, accepted)
        elif "completionTime" not in latest:
            self._follow(latest)
        else:
            self._after(latest, accepted)

    def _take_up(self, number: int, latest: Object | None, accepted: bool) -> None:
        if latest is not None and "completionTime" not in latest:
            outcome = self._outcome(latest)
            if outcome is None or outcome.succeeded:
                self._follow(latest)
                return
            self._close(latest, outcome)
            self._warn(latest["reason"], _failure(latest), f"attempt-{latest['number']}")
        if accepted:
            self._start(number, accepted)
        else:
            # What runs goes on, even if no more can be made of the spec as it is now.
            ranks = {name: rank for name, (attempt, rank) in self.places.items() if attempt == number}
            self._record(number, sorted(ranks, key=ranks.__getitem__))

    def _record(self, number: int, names: list[str]) -> None:
        self.attempts.append({"number": number, "pods": names, "startTime": times.to_text(self.now)})
        self.status.setdefault("startTime", times.to_text(self.now))
        self._observe("Scheduled", "False", "Pending", "the pods are created")
        self._observe("Running", "False", "Pending", "the pods are starting")
        self.result.urgent = True
        if any(name in self.pods for name in names):
            self.result.requeue_after = 0.0  # it may have ended long ago, and nothing tells of that again

    def _start(self, number: int, accepted: bool) -> None:
        if not accepted:
            return
        spec = parse_trainjob(self.job)
        objects = attempt_objects(self.job, spec, number, self.settings)
        names = [wanted["metadata"]["name"] for wanted in objects if wanted["kind"] == "Pod"]
        self.result.create = [wanted for wanted in objects if wanted["metadata"]["name"] not in self.pods]
        self.status.setdefault("specDigests", self._digests_of_first_pod() or spec_digests(spec))
        self._record(number, names)

    def _digests_of_first_pod(self) -> dict[str, str] | None:
        for pod in self.pods.values():
            digests = said.read((pod["metadata"].get("annotations") or {}).get(labels.SPEC_DIGESTS) or "")
            if digests is not None:
                return {field: str(digest) for field, digest in digests.items()}
        return None

    def _follow(self, attempt: Object) -> None:
        outcome = self._outcome(attempt)
        if outcome is None:
            if any((self.pods[name].get("status") or {}).get("phase") == "Failed" for name in attempt["pods"]):
                self.result.requeue_after = EXPLAIN.total_seconds()
            self.observed += observe([self.pods[name] for name in attempt["pods"]])
            self._tell_if_unschedulable(attempt)
            if self.progress is not None:
                self.status["progress"] = dict(self.progress)
            self._stop_lost([self.pods[name] for name in attempt["pods"]])
            return
        # Who publishes nothing can claim to have done so all the same.
        publishes = self.job["spec"].get("output") is not None
        if outcome.succeeded and outcome.artifact is not None and publishes and held.is_asked(self.job):
            found = self._looked(attempt, outcome, outcome.artifact)
            if found is None:
                return
            outcome = found
        self._close(attempt, outcome)
        for field in ("progress", "result", *(["artifact"] if publishes else [])):
            if (reported := getattr(outcome, field)) is not None:
                self.status[field] = reported
        self.result.urgent = True
        if outcome.succeeded:
            self._complete(attempt, outcome)
        else:
            self._after(attempt, accepted=True)

    def _outcome(self, attempt: Object) -> Outcome | None:
        outcome, output = of_gang(attempt["pods"], self.pods, self.now), self.job["spec"].get("output")
        if outcome is None or output is None:
            return outcome
        store, namespace = self.settings.store, self.job["metadata"]["namespace"]
        return believed(outcome, lambda uri, version: store.is_at(uri, namespace, output["model"], version))

    def _looked(self, attempt: Object, outcome: Outcome, artifact: dict[str, Any]) -> Outcome | None:
        """The outcome once a pod has looked whether the store holds this version; None while it does."""
        name = held.pod_name(self.name, attempt["number"])
        said = f"the store is asked for version {artifact['version']}"
        look = self.looks.get(name)
        if look is None:
            self.result.create.append(held.pod(self.job, attempt["number"], artifact, self.settings))
            found = None
        else:
            found, why = held.judged(outcome, artifact, look), held.why_not(look)
            said = f"{said}: {why}" if why else said
            if (found is not None or held.is_over(look)) and not pods.deleting(look):
                # Once it has answered it may go; one that could not ask makes way for another.
                self.result.delete.append(Delete("Pod", name))
        if found is None:
            self._observe("Published", "Unknown", "Checking", said)
        return found

    def _close(self, attempt: Object, outcome: Outcome) -> None:
        """Write down how the latest attempt ended."""
        ended = min(times.from_text(outcome.finished), self.now) if outcome.finished else self.now
        attempt["completionTime"] = times.to_text(ended)
        attempt["reason"] = outcome.reason
        attempt.pop("message", None)
        attempt |= {"message": said.shortened(outcome.message, 1000)} if outcome.message else {}
        attempt |= {"exitCode": outcome.exit_code} if outcome.exit_code is not None else {}
        self.attempts[-1] = attempt

    def _complete(self, attempt: Object, outcome: Outcome) -> None:
        output = self.job["spec"].get("output")
        if output is not None and outcome.artifact is None:
            attempt["reason"] = Reason.NOTHING_PUBLISHED
            attempt["message"] = "the pod ended well but reported no published version"
            self._fail(attempt, "")
        else:
            self._succeed(attempt, outcome.artifact, outcome.passed_over)

    def _succeed(self, attempt: Object, artifact: Object | None, passed_over: str = "") -> None:
        # A fast pod may never have been seen waiting or running.
        self._observe("Scheduled", "True", "Scheduled", "every pod had a node")
        self._observe("Running", "False", "Finished", f"attempt {attempt['number']} has ended")
        if self.job["spec"].get("output") is not None and artifact is not None:
            message = f"version {artifact['version']} at {artifact['uri']}"
            message += f"; passed over: {passed_over}" if passed_over else ""
            self._observe("Published", "True", "Published", message)
            self._tell("Published", message, "published")
        self._observe("Complete", "True", "Succeeded", f"attempt {attempt['number']} succeeded")
        if conditions.is_true(self.old.get("conditions"), "Failed"):
            self._observe("Failed", "False", "Succeeded", f"attempt {attempt['number']} succeeded")
        self.status["completionTime"] = attempt["completionTime"]
        self._tell("Complete", f"attempt {attempt['number']} succeeded", "complete")

    def _after(self, attempt: Object, accepted: bool) -> None:
        """The latest attempt has failed: stop what is left of the gang, then try again or give up."""
        decision = retry.decide(self.attempts, int((self.job["spec"].get("policy") or {}).get("retries", 3)))
        alive = self._alive()
        self._stop(alive)
        if isinstance(decision, retry.GiveUp):
            self._fail(attempt, decision.because)
            return
        number, ended = attempt["number"] + 1, times.from_text(attempt["completionTime"])
        failure, pause = _failure(attempt), times.left(ended, decision.at - ended, self.now)
        if alive:
            self._observe("Running", "False", attempt["reason"], f"{failure}; its other pods are being stopped")
        elif pause:
            when = times.to_text(decision.at)
            self._observe("Running", "False", attempt["reason"], f"{failure}; attempt {number} starts at {when}")
            self.result.requeue_after = pause.total_seconds()
        else:
            self._start(number, accepted)
        self._warn(attempt["reason"], failure, f"attempt-{attempt['number']}")

    def _fail(self, attempt: Object, because: str) -> None:
        message = attempt.get("message") or attempt["reason"]
        message = f"{message} ({because})" if because else message
        self._observe("Running", "False", "Finished", f"attempt {attempt['number']} has ended")
        if self.job["spec"].get("output") is not None:
            self._observe("Published", "False", attempt["reason"], "nothing was published")
        self._observe("Failed", "True", attempt["reason"], message)
        self.status["completionTime"] = attempt["completionTime"]
        self._warn(attempt["reason"], message, "failed")

    def _alive(self) -> list[Object]:
        return [
            pod for pod in self.pods.values() if (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
        ]

    def _stop(self, alive: list[Object]) -> None:
        self.result.delete += [Delete("Pod", pod["metadata"]["name"]) for pod in alive if not pods.deleting(pod)]
        self._stop_lost(alive)

    def _stop_lost(self, found: list[Object]) -> None:
        """Delete for good what was told to go and stays, on a node that does not answer."""
        for pod in filter(pods.deleting, found):
            lost_at = times.from_text(pod["metadata"]["deletionTimestamp"]) + FORCE_AFTER
            if lost_at <= self.now:
                self.result.delete.append(Delete("Pod", pod["metadata"]["name"], force=True))
            else:
                wait = (lost_at - self.now).total_seconds()
                self.result.requeue_after = min(wait, self.result.requeue_after or wait)

    def _tell_if_unschedulable(self, attempt: Object) -> None:
        for condition in self.observed:
            if condition.type == "Scheduled" and condition.reason == "Unschedulable":
                self._warn("Unschedulable", condition.message, f"unschedulable-{attempt['number']}")

    def _finish(self) -> Plan:
        before = self.old.get("conditions")
        merged = conditions.merge(before, self.observed, self._generation, self.now)
        self.status |= {"conditions": merged, "observedGeneration": self._generation, "phase": phase(merged)}
        if self.attempts:
            self.status["attempts"], dropped = bounded(self.attempts)
            if dropped:
                self.status["attemptsDropped"] = dropped + (self.old.get("attemptsDropped") or 0)
        parsed = TrainJobStatus.model_validate(self.status)
        self.result.status = parsed.model_dump(mode="json", by_alias=True, exclude_none=True)
        if self.result.status["phase"] != self.old.get("phase") and self.result.status["phase"] == "Refused":
            self.result.urgent = True
        return self.result

    @property
    def _generation(self) -> int:
        return int(self.job["metadata"].get("generation", 1))

    def _observe(self, kind: str, status: conditions.Truth, reason: str, message: str) -> None:
        self.observed.append(Condition(kind, status, reason, message))

    def _tell(self, reason: str, message: str, key: str) -> None:
        self.result.events.append(Event("Normal", reason, message, key))

    def _warn(self, reason: str, message: str, key: str) -> None:
        self.result.events.append(Event("Warning", reason, message, key))


def _failure(attempt: Object) -> str:
    return f"attempt {attempt['number']} failed: {attempt.get('message') or attempt['reason']}"
