"""The next step of a TrainJob, as a pure function of the observed state and the time."""

from __future__ import annotations

from datetime import datetime, timedelta

from trainserve.api import trainjob_status
from trainserve.api.reasons import Reason
from trainserve.api.trainjob import TrainJobSpec
from trainserve.operator import conditions, labels, objects, pods, said, times
from trainserve.operator.blocked import Refusal
from trainserve.operator.objects import Object
from trainserve.operator.plan import Delete, Plan, Planner
from trainserve.operator.settings import Settings
from trainserve.operator.statuses import Attempt
from trainserve.operator.trainjob import held, retry
from trainserve.operator.trainjob.attempts import bounded
from trainserve.operator.trainjob.builders import attempt_objects
from trainserve.operator.trainjob.checks import accepted
from trainserve.operator.trainjob.digests import spec_digests
from trainserve.operator.trainjob.names import check_name
from trainserve.operator.trainjob.observed import Observed
from trainserve.operator.trainjob.outcome import EXPLAIN, Outcome, believed, of_gang
from trainserve.operator.trainjob.state import observe, phase

FORCE_AFTER = timedelta(seconds=60)
"""Time after its grace period for which a pod must remain to be treated as lost: its node does not respond."""


def plan(observed: Observed, settings: Settings, now: datetime) -> Plan:
    """Return the plan for the next step at `now`."""
    return _Planner(observed, settings, now).plan()


class _Planner(Planner):
    """Planner of one pass over one job: reads `seen` and collects into `result`."""

    def __init__(self, seen: Observed, settings: Settings, now: datetime) -> None:
        super().__init__()
        self.seen, self.settings, self.now = seen, settings, now
        self.pods, self.old, self.status = seen.pods, seen.status, seen.status.copy()
        self.attempts = [attempt.copy() for attempt in self.old.get("attempts") or []]
        self.spec: TrainJobSpec | None = None
        """The spec if it is accepted; without it no new attempt starts, and a running one continues."""

    def plan(self) -> Plan:
        spec = accepted(self.seen, self.settings)
        if isinstance(spec, Refusal):
            self._observe("Accepted", "False", spec.reason, spec.message)
            self._warn(spec.reason, spec.message, f"{spec.reason}-{self.seen.identity.generation}")
        else:
            self._observe("Accepted", "True", "Accepted", "the spec is valid")
            self.spec = spec
        known = self.old.get("conditions")
        succeeded = next((attempt for attempt in self.attempts if attempt.get("reason") == Reason.SUCCEEDED), None)
        if succeeded is not None and not conditions.is_true(known, "Complete"):
            # The status may lack the end: a replica with an outdated view may have overwritten it.
            self._succeed(succeeded, self.status.get("artifact"))
        elif any(conditions.is_true(known, kind) for kind in ("Complete", "Failed")):
            self._stop(self._alive())
        else:
            self._advance()
        return self._finish()

    def _advance(self) -> None:
        latest = self.attempts[-1] if self.attempts else None
        unrecorded = max((attempt for attempt, _ in self.seen.places.values()), default=0)
        outcome = self._outcome(latest) if latest else None
        if latest is not None and outcome is not None and outcome.succeeded:
            self._follow(latest)
        elif unrecorded > (latest["number"] if latest else 0):
            # The operator died, or its status write was lost, between creating these pods and recording them.
            self._take_up(unrecorded, latest)
        elif latest is None:
            self._start(1)
        elif "completionTime" not in latest:
            self._follow(latest)
        else:
            self._after(latest)

    def _take_up(self, number: int, latest: Attempt | None) -> None:
        if latest is not None and "completionTime" not in latest:
            outcome = self._outcome(latest)
            if outcome is None or outcome.succeeded:
                self._follow(latest)
                return
            self._close(latest, outcome)
            self._warn(latest["reason"], _failure(latest), f"attempt-{latest['number']}")
        if self.spec is not None:
            self._start(number)
        else:
            # A running attempt continues although the current spec is refused.
            ranks = {name: rank for name, (attempt, rank) in self.seen.places.items() if attempt == number}
            self._record(number, sorted(ranks, key=ranks.__getitem__))

    def _record(self, number: int, names: list[str]) -> None:
        self.attempts.append({"number": number, "pods": names, "startTime": times.to_text(self.now)})
        self.status.setdefault("startTime", times.to_text(self.now))
        self._observe("Scheduled", "False", "Pending", "the pods are created")
        self._observe("Running", "False", "Pending", "the pods are starting")
        self.result.urgent = True
        if any(name in self.pods for name in names):
            self.result.requeue_after = 0.0  # it may have ended already, which no event reports again

    def _start(self, number: int) -> None:
        if self.spec is None:
            return
        gang = attempt_objects(self.seen.raw, self.spec, number, self.settings)
        names = [wanted["metadata"]["name"] for wanted in gang if wanted["kind"] == "Pod"]
        self.result.create = [wanted for wanted in gang if wanted["metadata"]["name"] not in self.pods]
        self.status.setdefault("specDigests", self._digests_of_first_pod() or spec_digests(self.spec))
        self._record(number, names)

    def _digests_of_first_pod(self) -> dict[str, str] | None:
        for pod in self.pods.values():
            digests = said.read(objects.annotations(pod).get(labels.SPEC_DIGESTS) or "")
            if digests is not None:
                return {field: str(digest) for field, digest in digests.items()}
        return None

    def _follow(self, attempt: Attempt) -> None:
        outcome = self._outcome(attempt)
        if outcome is None:
            gang = [self.pods[name] for name in attempt["pods"]]
            if any(pods.phase(pod) == "Failed" for pod in gang):
                self.result.requeue_after = EXPLAIN.total_seconds()
            self.conditions += observe(gang)
            self._tell_if_unschedulable(attempt)
            if self.seen.progress is not None:
                self.status["progress"] = dict(self.seen.progress)
            self._stop_lost(gang)
            return
        model = self.seen.outline.model
        if outcome.succeeded and outcome.artifact is not None and model is not None and self.seen.outline.has_own_code:
            found = self._checked(attempt, outcome, outcome.artifact, model)
            if found is None:
                return
            outcome = found
        self._close(attempt, outcome)
        if outcome.progress is not None:
            self.status["progress"] = outcome.progress
        if outcome.result is not None:
            self.status["result"] = outcome.result
        # A run that publishes nothing can still claim to have published.
        if outcome.artifact is not None and model is not None:
            self.status["artifact"] = outcome.artifact
        self.result.urgent = True
        if outcome.succeeded:
            self._complete(attempt, outcome)
        else:
            self._after(attempt)

    def _outcome(self, attempt: Attempt) -> Outcome | None:
        outcome, model = of_gang(attempt["pods"], self.pods, self.now), self.seen.outline.model
        if outcome is None or model is None:
            return outcome
        store, namespace = self.settings.store, self.seen.identity.namespace
        return believed(outcome, lambda uri, version: store.is_at(uri, namespace, model, version))

    def _checked(self, attempt: Attempt, outcome: Outcome, artifact: Object, model: str) -> Outcome | None:
        """Return the outcome once a pod has checked whether the store holds this version; None before."""
        name = check_name(self.seen.identity.name, attempt["number"])
        message = f"checking that the store holds version {artifact['version']}"
        check = self.seen.store_checks.get(name)
        if check is None:
            self.result.create.append(held.pod(self.seen.raw, name, model, artifact["version"], self.settings))
            found = None
        else:
            found, why = held.judged(outcome, artifact, check), held.why_not(check)
            message = f"{message}: {why}" if why else message
            if (found is not None or held.is_over(check)) and not pods.deleting(check):
                # With an answer the pod is no longer needed; without one, a new pod tries again.
                self.result.delete.append(Delete("Pod", name))
        if found is None:
            self._observe("Published", "Unknown", "Checking", message)
        return found

    def _close(self, attempt: Attempt, outcome: Outcome) -> None:
        """Record how the latest attempt ended."""
        ended = min(times.from_text(outcome.finished), self.now) if outcome.finished else self.now
        attempt["completionTime"] = times.to_text(ended)
        attempt["reason"] = outcome.reason
        attempt.pop("message", None)
        if outcome.message:
            attempt["message"] = said.shortened(outcome.message, 1000)
        if outcome.exit_code is not None:
            attempt["exitCode"] = outcome.exit_code
        self.attempts[-1] = attempt

    def _complete(self, attempt: Attempt, outcome: Outcome) -> None:
        if self.seen.outline.model is not None and outcome.artifact is None:
            attempt["reason"] = Reason.NOTHING_PUBLISHED
            attempt["message"] = "the pod succeeded but reported no published version"
            self._fail(attempt, "")
        else:
            self._succeed(attempt, outcome.artifact, outcome.passed_over)

    def _succeed(self, attempt: Attempt, artifact: Object | None, passed_over: str = "") -> None:
        # A fast pod may never have been observed waiting or running.
        self._observe("Scheduled", "True", "Scheduled", "every pod had a node")
        self._observe("Running", "False", "Finished", f"attempt {attempt['number']} has ended")
        if self.seen.outline.model is not None and artifact is not None:
            message = f"version {artifact['version']} at {artifact['uri']}"
            message += f"; passed over: {passed_over}" if passed_over else ""
            self._observe("Published", "True", "Published", message)
            self._tell("Published", message, "published")
        self._observe("Complete", "True", "Succeeded", f"attempt {attempt['number']} succeeded")
        if conditions.is_true(self.old.get("conditions"), "Failed"):
            self._observe("Failed", "False", "Succeeded", f"attempt {attempt['number']} succeeded")
        self.status["completionTime"] = attempt["completionTime"]
        self._tell("Complete", f"attempt {attempt['number']} succeeded", "complete")

    def _after(self, attempt: Attempt) -> None:
        """Stop the remaining pods of the failed latest attempt, then start another attempt or fail the job."""
        decision = retry.decide(self.attempts, self.seen.outline.retries)
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
        elif self.spec is None:
            why = "no attempt starts while the spec is refused"
            self._observe("Running", "False", attempt["reason"], f"{failure}; {why}")
        else:
            self._start(number)
        self._warn(attempt["reason"], failure, f"attempt-{attempt['number']}")

    def _fail(self, attempt: Attempt, because: str) -> None:
        message = attempt.get("message") or attempt["reason"]
        message = f"{message} ({because})" if because else message
        self._observe("Running", "False", "Finished", f"attempt {attempt['number']} has ended")
        if self.seen.outline.model is not None:
            self._observe("Published", "False", attempt["reason"], "nothing was published")
        self._observe("Failed", "True", attempt["reason"], message)
        self.status["completionTime"] = attempt["completionTime"]
        self._warn(attempt["reason"], message, "failed")

    def _alive(self) -> list[Object]:
        return [pod for pod in self.pods.values() if not pods.is_over(pod)]

    def _stop(self, alive: list[Object]) -> None:
        self.result.delete += [Delete("Pod", pod["metadata"]["name"]) for pod in alive if not pods.deleting(pod)]
        self._stop_lost(alive)

    def _stop_lost(self, found: list[Object]) -> None:
        """Force the deletion of pods that still exist FORCE_AFTER their deadline, on nodes that do not respond."""
        for pod in filter(pods.deleting, found):
            lost_at = times.from_text(pod["metadata"]["deletionTimestamp"]) + FORCE_AFTER
            if lost_at <= self.now:
                self.result.delete.append(Delete("Pod", pod["metadata"]["name"], force=True))
            else:
                wait = (lost_at - self.now).total_seconds()
                self.result.requeue_after = min(wait, self.result.requeue_after or wait)

    def _tell_if_unschedulable(self, attempt: Attempt) -> None:
        for condition in self.conditions:
            if condition.type == "Scheduled" and condition.reason == "Unschedulable":
                self._warn("Unschedulable", condition.message, f"unschedulable-{attempt['number']}")

    def _finish(self) -> Plan:
        generation = self.seen.identity.generation
        merged = conditions.merge(self.old.get("conditions"), self.conditions, generation, self.now)
        self.status |= {"conditions": merged, "observedGeneration": generation, "phase": phase(merged)}
        if self.attempts:
            self.status["attempts"], dropped = bounded(self.attempts)
            if dropped:
                self.status["attemptsDropped"] = dropped + (self.old.get("attemptsDropped") or 0)
        parsed = trainjob_status.TrainJobStatus.model_validate(self.status)
        self.result.status = parsed.model_dump(mode="json", by_alias=True, exclude_none=True)
        if self.result.status["phase"] != self.old.get("phase") and self.result.status["phase"] == "Refused":
            self.result.urgent = True
        return self.result


def _failure(attempt: Attempt) -> str:
    return f"attempt {attempt['number']} failed: {attempt.get('message') or attempt['reason']}"
