"""The probe beside a server: is the server alive, are its answers right, how fast is it.

Triton's own health endpoints keep answering 200 when the process that runs the model is dead (server#8604), and know
nothing of what a model should answer. The probe sends recorded samples through the running server. The timeout of an
inference follows from the durations of the model's own answers.
"""

from __future__ import annotations

import contextlib
import threading
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from trainserve.api import latency_buckets
from trainserve.api.messages import FORMAT, Report
from trainserve.api.pod import LIVENESS_TIMEOUT_SECONDS
from trainserve.api.reasons import Reason
from trainserve.serving.pod.inferences import FIRST_SECONDS, Inferences
from trainserve.serving.pod.pulse import Pulse, Verdict
from trainserve.serving.protocol.control import Control, is_ready
from trainserve.serving.protocol.infer import InferenceError
from trainserve.serving.samples.recorded import Recorded
from trainserve.serving.verification import questions
from trainserve.serving.verification.batching_trial import Company
from trainserve.serving.verification.description import Described
from trainserve.serving.verification.questions import Question
from trainserve.serving.verification.user_samples import BadSamples, Given

POLL = 0.05
"""Seconds between two requests to a server that is not ready."""
TIMEOUT = 4.0
"""Minimum timeout of an inference, in seconds; a server that exceeds it counts as dead."""
PATIENCE = 4
"""Timeout of an inference as a multiple of the slowest of the last answers."""
ALIVE_WAIT = LIVENESS_TIMEOUT_SECONDS - 0.5
"""Seconds that /livez waits at most: less than a kubelet does."""
FRESH = 3
"""Inputs to try in turn for a model behind a response cache."""
WAIT = 1.0
"""Seconds between two checks whether the probe should stop, and after a verification that got no answer."""


class Probe:
    """One server's probe. Every method may be called from any thread."""

    def __init__(
        self,
        host: str,
        port: int,
        model: str,
        recorded: Recorded | Given | None,
        around: Mapping[str, Recorded] | None = None,
        buckets: Sequence[float] = latency_buckets.DEFAULT,
        company: Company | None = None,
    ) -> None:
        """Without `recorded`, any answer to synthetic inputs counts as verified.

        `around` maps the server's other models that pass on this one's answers to their own samples. `buckets` are the
        upper bounds, in seconds, of the latency histogram. `company` handles a model whose answer to a row depends on
        the other rows of a batch.
        """
        self._given = recorded if isinstance(recorded, Given) else None
        self.recorded = recorded if isinstance(recorded, Recorded) else None
        self._around = dict(around or {})
        self.company = company or Company()
        self._generator = np.random.default_rng()
        self.host, self.port, self.model = host, port, model
        self._inferences = Inferences(host, port, model, buckets)
        self.metrics = self._inferences.metrics
        self.verified: bool | None = None
        self.reason, self.message = "Waiting", "waiting for the server"
        self.max_abs: float | None = None
        self.max_rel: float | None = None
        self._question: Question | None = None
        self._described: Described | None = None
        self._first_failed = ""
        """Why the first verification has no answer yet."""
        self._pulse = Pulse(self._beat)
        self._answering = True
        self._due = threading.Event()
        self._due.set()

    def verify(self) -> None:
        """Send every recorded sample alone through the server and compare. Raises InferenceError or OSError."""
        try:
            self._verify()
            self._verify_company()
        except (InferenceError, OSError) as error:
            self._first_failed = f"{type(error).__name__}: {error}"
            raise
        self._first_failed = ""

    def _verify_company(self) -> None:
        """Check that a model whose answers are right alone is right in a batch too; until then it is not verified."""
        if not self.verified or self._described is None:
            return
        self.verified = None
        self.company.check(self.host, self.port, self.model, self._described, self._question, self.recorded)
        self.verified = True

    def _verify(self) -> None:
        self._described = described = questions.describe(f"{self.host}:{self.port}", self.model, TIMEOUT)
        if self._given is not None:
            try:
                self.recorded = self._given.recorded(batched=described.max_batch > 0)
            except BadSamples as error:
                self.verified, self.reason, self.message = False, "BadSamples", str(error)
                return
        if self.recorded is None:
            self._verify_synthetic(described)
            return
        recorded = self.recorded.declared({name: shape for name, (_, shape) in (described.inputs or {}).items()})
        first = recorded.sent(np.arange(recorded.batch))
        self._question = Question(first, tuple(recorded.names or described.outputs or ()))
        if recorded.outputs:
            self._compare(recorded)
            return
        for rows in recorded.requests(recorded.batch):
            self._inferences.put(self.model, self._question, recorded.sent(rows), FIRST_SECONDS)
        self._answered_unrecorded(f"the {len(recorded)} given inputs are answered; the right outputs are unknown")

    def _compare(self, recorded: Recorded) -> None:
        result = self._inferences.compare(self.model, recorded)
        message = result.message
        if recorded.reference == "none":
            whose = " to the given inputs" if self._given is not None else ": the script recorded none"
            message += f"; compared with onnxruntime's own answers{whose}"
        for name, samples in self._around.items():
            if not result.matches:
                break
            through = self._inferences.compare(name, samples)
            if through.matches:
                message += f"; {name} is right, too"
            else:
                result, message = through, f"{name}: {through.message}"
        self.max_abs, self.max_rel, self.message = result.max_abs, result.max_rel, message
        self.verified, self.reason = result.matches, Reason.SAMPLES_MATCH if result.matches else Reason.OUTPUT_MISMATCH
        self.metrics.compared(result.matches, result.max_abs)

    def _verify_synthetic(self, described: Described) -> None:
        """Find a synthetic input that the model answers, for all later inferences; failing that, take the first."""
        refused: tuple[Question, str] | None = None
        why = questions.unaskable(described)
        question = None
        for each in [] if why else questions.questions(described):
            try:
                self._inferences.put(self.model, each, each.inputs, FIRST_SECONDS)
            except InferenceError as error:
                if not questions.is_answer(error):
                    raise
                refused = refused or (replace(each, refusal=questions.kind_of(error)), str(error))
                continue
            question = each
            break
        if question is not None:
            message = "synthetic inputs in the declared shapes are answered; a lone graph has no recorded samples"
            if question.sequence:
                message += "; each is a sequence of its own"
        elif refused is not None:
            question, words = refused
            message = f"it answers synthetic inputs with an error, which may be right; give samples: {words}"
        else:
            message = f"it is loaded, but not verified: there are no synthetic inputs for it ({why})"
        self._question = question
        self._answered_unrecorded(message)

    def _answered_unrecorded(self, message: str) -> None:
        self.verified, self.reason, self.message = True, Reason.NOTHING_RECORDED, message
        self.metrics.answered_unrecorded()

    def verify_when_due(self, stopped: threading.Event) -> bool:
        """Wait until the server is ready for the first time, or again, and verify it. False if `stopped` before."""
        while not self._due.wait(WAIT):
            if stopped.is_set():
                return False
        pause = POLL
        while not stopped.wait(pause):
            pause = POLL
            if not is_ready(f"{self.host}:{self.port}", self.model, TIMEOUT):
                continue
            self._due.clear()
            try:
                self.verify()
                return True
            except (InferenceError, OSError) as error:
                self.metrics.not_compared()
                reason, message = str(Reason.INFERENCE_FAILED), f"{type(error).__name__}: {error}"
            except Exception as error:  # a bug in the probe must be neither blamed on the model nor silent
                traceback.print_exc()
                reason, message = "ProbeFailed", f"the probe itself failed: {error!r}"
            self._due.set()
            pause = WAIT
            if self.verified is None:
                self.reason, self.message = reason, message
        return False

    @property
    def asks(self) -> bool:
        """Whether there is something to send: False for an ensemble, whose steps have probes of their own, and for a
        model without samples or synthetic inputs."""
        steps = self._described is not None and self._described.steps
        return not steps and (self._question is not None or self.recorded is not None)

    def alive(self, wait: float = ALIVE_WAIT) -> Verdict:
        """Return whether one real inference succeeds now, and the server's message if it does not.

        Waits at most `wait` seconds: an inference that is still within its own timeout then counts as alive. A server
        that comes back is verified again, as it may have loaded something else.
        """
        if words := self.company.leaving(self.host, self.port, self.model):
            return False, words
        if self._question is None and self.recorded is None:
            words = self._first_failed or "nothing is known yet that it answers"
            return self.verified is True or not self._first_failed, "not asked" if self.verified else words
        return self._pulse.feel(wait)

    def started(self) -> None:
        """Forget the last answer: a new server has started."""
        self._pulse.forget()

    def _beat(self) -> Verdict:
        try:
            return self._ask()
        except Exception as error:  # a bug in the probe is no reason to end a server
            traceback.print_exc()
            return True, f"the probe itself failed: {error!r}"

    def _ask(self) -> Verdict:
        finished = self._finished()
        try:
            self._ask_now()
        except (InferenceError, OSError) as error:
            if isinstance(error, TimeoutError) and self._finished() > finished:
                return True, "busy: it has answered others meanwhile"
            self._answering = False
            return False, f"{type(error).__name__}: {error}"
        if not self._answering:
            self._answering = True
            self._due.set()
        return True, "ok"

    def _ask_now(self) -> None:
        """Send one inference; behind a response cache one with new values, several of which may have to be tried."""
        question = self._question
        if question is None:
            assert self.recorded is not None
            question = Question(self.recorded.sent(np.arange(self.recorded.batch)), tuple(self.recorded.names))
        cached = self._described is not None and self._described.cached and not question.refusal
        for left in reversed(range(FRESH if cached else 1)):
            inputs = questions.fresh(question.inputs, self._generator) if cached else question.inputs
            try:
                self._inferences.put(self.model, question, inputs, self._timeout())
                return
            except InferenceError as error:
                if not left or not questions.is_answer(error):
                    raise

    def _timeout(self) -> float:
        idle = (self._described.sequence_idle or 0.0) if self._described is not None else 0.0
        # A new sequence waits until an idle one has left its slot.
        return max(TIMEOUT, PATIENCE * self._inferences.slowest) + idle

    def _finished(self) -> int:
        """Count the requests that the model has answered so far; 0 if the server does not say."""
        with contextlib.suppress(InferenceError, OSError):
            return Control(f"{self.host}:{self.port}", TIMEOUT).finished(self.model)
        return 0

    def report(self) -> Report:
        """Return the answer of /report (docs/contracts.md). Latencies are those of this probe's single inferences."""
        p50, p99 = self._inferences.percentiles()
        return Report(
            format_version=FORMAT,
            verified=self.verified,
            reason=self.reason,
            message=self.message,
            samples=len(self.recorded) if self.recorded is not None else 0,
            batching=self.company.report(self._described),
            max_abs=_finite(self.max_abs),
            max_rel=_finite(self.max_rel),
            p50_ms=p50,
            p99_ms=p99,
        )


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and np.isfinite(value) else None
