"""The probe beside a server: is it alive, is it right, how fast is it.

Triton's own health endpoints keep answering 200 when the process that runs the model is dead (server#8604), and
know nothing of what a model should answer. This one sends recorded samples through the running server. How long an
answer may take follows from how long the model's own answers took.
"""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
import traceback
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from trainserve.api import latency_buckets
from trainserve.api.messages import FORMAT, Report
from trainserve.api.pod import LIVENESS_TIMEOUT_SECONDS
from trainserve.api.reasons import Reason
from trainserve.serving.pod.metrics import ProbeMetrics
from trainserve.serving.pod.pulse import Pulse, Verdict
from trainserve.serving.protocol.control import Control
from trainserve.serving.protocol.infer import Arrays, InferenceError, infer
from trainserve.serving.samples.comparison import Comparison
from trainserve.serving.samples.recorded import Recorded
from trainserve.serving.verification import questions
from trainserve.serving.verification.batching_trial import Company
from trainserve.serving.verification.description import Described
from trainserve.serving.verification.questions import Question
from trainserve.serving.verification.user_samples import BadSamples, Given

POLL = 0.05
"""Seconds between two looks at a server that is not ready."""
TIMEOUT = 4.0
"""Seconds one inference may take, at least, before the server counts as dead."""
PATIENCE = 4
"""How many times as long as the slowest of its last answers one may take before the server counts as dead."""
FIRST_SECONDS = 300.0
"""For an answer to what was never asked before: nobody knows yet how long it takes."""
ALIVE_WAIT = LIVENESS_TIMEOUT_SECONDS - 0.5
"""Seconds after which a request to /livez is answered at the latest: before the kubelet gives up."""
REMEMBERED = 16
"""Answers whose times are remembered for that: the first ones may have paid for what is set up lazily."""
FRESH = 3
"""Inputs that are tried in turn, of a model behind a response cache."""
WINDOW = 1024
"""Latencies kept for the percentiles."""
WAIT = 1.0
"""Seconds between two looks at whether the probe itself shall stop, and after a verification that got no answer."""


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
        """`recorded` None: nothing is; that made-up inputs are answered must do.

        `around`: by name, what other models of the server that hand on this one's answers have to make of them.
        `buckets`: upper bounds, in seconds, of the histogram of its latencies. `company`: what becomes of a model whose
        rows are answered otherwise in company.
        """
        self._given = recorded if isinstance(recorded, Given) else None
        self.recorded = recorded if isinstance(recorded, Recorded) else None
        self._around = dict(around or {})
        self.company = company or Company()
        self._generator = np.random.default_rng()
        self.host, self.port, self.model = host, port, model
        self.verified: bool | None = None
        self.reason, self.message = "Waiting", "waiting for the server"
        self.max_abs: float | None = None
        self.max_rel: float | None = None
        self._latencies: deque[float] = deque(maxlen=WINDOW)
        self._lock = threading.Lock()
        self._question: Question | None = None
        self._described: Described | None = None
        self._took: deque[float] = deque([0.0], maxlen=REMEMBERED)
        self._first_failed = ""
        """Why there is no answer yet to what was asked first."""
        self._pulse = Pulse(self._beat)
        self._answering = True
        self._due = threading.Event()
        self._due.set()
        self.metrics = ProbeMetrics(buckets)

    def ready(self) -> bool:
        """Whether the server says that it has loaded the model."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=TIMEOUT)
        try:
            connection.request("GET", f"/v2/models/{self.model}/ready")
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

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
        """Whether a model that is right alone is right in company; until that is known it is not verified."""
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
        recorded = self.recorded
        if recorded is None:
            self._answered_unrecorded(described)
            return
        recorded = recorded.declared({name: shape for name, (_, shape) in (described.inputs or {}).items()})
        first = recorded.sent(np.arange(recorded.batch))
        self._question = Question(first, tuple(recorded.names or described.outputs or ()))
        if not recorded.outputs:
            for rows in recorded.requests(recorded.batch):
                self._put(self._question, recorded.sent(rows), FIRST_SECONDS)
            self.verified, self.reason = True, Reason.NOTHING_RECORDED
            self.message = f"the {len(recorded)} given inputs are answered; no one has said what is right"
            self.metrics.answered_unrecorded()
            return
        result = self._compared(self.model, recorded)
        message = result.message
        if self._given is not None and recorded.reference == "none":
            message += "; what they are held against is onnxruntime's own answers to the given inputs"
        elif recorded.reference == "none":
            message += "; what they are held against is onnxruntime's own answers: the script recorded none"
        for name, samples in self._around.items():
            if not result.matches:
                break
            through = self._compared(name, samples)
            if through.matches:
                message += f"; {name} is right, too"
            else:
                result, message = through, f"{name}: {through.message}"
        self.max_abs, self.max_rel, self.message = result.max_abs, result.max_rel, message
        self.verified, self.reason = result.matches, Reason.SAMPLES_MATCH if result.matches else Reason.OUTPUT_MISMATCH
        self.metrics.compared(result.matches, result.max_abs)

    def _answered_unrecorded(self, described: Described) -> None:
        """The first of the made-up inputs that is answered is what is asked from then on; where none is, the first."""
        refused: tuple[Question, str] | None = None
        why = questions.unaskable(described)
        question = None
        for each in [] if why else questions.questions(described):
            try:
                self._put(each, each.inputs, FIRST_SECONDS)
            except InferenceError as error:
                if not questions.is_answer(error):
                    raise
                refused = refused or (replace(each, refusal=questions.kind_of(error)), str(error))
                continue
            question = each
            break
        if question is not None:
            message = "inputs made up in the declared shapes are answered; a lone graph comes without samples"
            if question.sequence:
                message += "; each is a sequence of its own"
        elif refused is not None:
            question, words = refused
            message = f"it answers inputs that are made up with an error, which may be right; give samples: {words}"
        else:
            message = f"it is loaded, and not asked: nothing can be made up for it ({why})"
        self._question = question
        self.verified, self.reason, self.message = True, Reason.NOTHING_RECORDED, message
        self.metrics.answered_unrecorded()

    def verify_when_due(self, stopped: threading.Event) -> bool:
        """Wait until the server is ready for the first time, or has come back, and verify it. False: stopped before."""
        while not self._due.wait(WAIT):
            if stopped.is_set():
                return False
        pause = POLL
        while not stopped.wait(pause):
            pause = POLL
            if not self.ready():
                continue
            self._due.clear()
            try:
                self.verify()
                return True
            except (InferenceError, OSError) as error:
                self._due.set()
                pause = WAIT
                self.metrics.not_compared()
                if self.verified is None:
                    self.reason, self.message = Reason.INFERENCE_FAILED, f"{type(error).__name__}: {error}"
            except Exception as error:  # a fault of the probe's own must not pass for one of the model's, nor be silent
                traceback.print_exc()
                self._due.set()
                pause = WAIT
                if self.verified is None:
                    self.reason, self.message = "ProbeFailed", f"the probe itself failed: {error!r}"
        return False

    @property
    def asks(self) -> bool:
        """Whether there is something to ask: not of an ensemble, whose steps are asked, nor of what nothing can be made
        up for."""
        steps = self._described is not None and self._described.steps
        return not steps and (self._question is not None or self.recorded is not None)

    def alive(self, wait: float = ALIVE_WAIT) -> Verdict:
        """Whether one real inference succeeds now, and the server's words when it does not.

        At most `wait` seconds are waited for it: what has not answered by then, and may still take its time, is alive.
        A server that comes back is verified again: it may have loaded something else.
        """
        if words := self.company.leaving(self.host, self.port, self.model):
            return False, words
        if self._question is None and self.recorded is None:
            words = self._first_failed or "nothing is known yet that it answers"
            return self.verified is True or not self._first_failed, "not asked" if self.verified else words
        return self._pulse.feel(wait)

    def started(self) -> None:
        """Called when a server has come up, while nobody asks yet whether it lives."""
        self._pulse.forget()

    def _beat(self) -> Verdict:
        try:
            return self._felt()
        except Exception as error:  # a fault of the probe's own: no reason to end a server
            traceback.print_exc()
            return True, f"the probe itself failed: {error!r}"

    def _felt(self) -> Verdict:
        finished = self._finished()
        try:
            self._ask_now()
        except (InferenceError, OSError) as error:
            if isinstance(error, TimeoutError) and (self._finished() or 0) > (finished or 0):
                return True, "busy: it has answered others meanwhile"
            self._answering = False
            return False, f"{type(error).__name__}: {error}"
        if not self._answering:
            self._answering = True
            self._due.set()
        return True, "ok"

    def _ask_now(self) -> None:
        """One question; behind a response cache one that nobody has asked before, so that values are tried in turn."""
        question = self._question
        if question is None:
            assert self.recorded is not None
            question = Question(self.recorded.sent(np.arange(self.recorded.batch)), tuple(self.recorded.names))
        cached = self._described is not None and self._described.cached and not question.refusal
        for left in reversed(range(FRESH if cached else 1)):
            inputs = questions.fresh(question.inputs, self._generator) if cached else question.inputs
            try:
                self._put(question, inputs, self._deadline())
                return
            except InferenceError as error:
                if not left or not questions.is_answer(error):
                    raise

    def _deadline(self) -> float:
        idle = (self._described.sequence_idle or 0.0) if self._described is not None else 0.0
        return max(TIMEOUT, PATIENCE * max(self._took)) + idle  # a sequence waits until a silent one has left its slot

    def _finished(self) -> int | None:
        """How many requests the model has answered so far."""
        with contextlib.suppress(InferenceError, OSError):
            return Control(f"{self.host}:{self.port}", TIMEOUT).finished(self.model)
        return None

    def report(self) -> Report:
        """The answer of /report (docs/contracts.md). Latencies are of single inferences by this probe alone."""
        with self._lock:
            latencies = list(self._latencies)
        p50, p99 = np.percentile(latencies, [50, 99]) * 1e3 if latencies else (None, None)
        return Report(
            format_version=FORMAT,
            verified=self.verified,
            reason=self.reason,
            message=self.message,
            samples=len(self.recorded) if self.recorded is not None else 0,
            batching=self.company.report(self._described),
            max_abs=_finite(self.max_abs),
            max_rel=_finite(self.max_rel),
            p50_ms=None if p50 is None else round(float(p50), 3),
            p99_ms=None if p99 is None else round(float(p99), 3),
        )

    def _compared(self, model: str, recorded: Recorded) -> Comparison:
        """What the model answers to every sample alone, with what was recorded."""
        requests = [recorded.sent(rows) for rows in recorded.requests(recorded.batch)]
        own, names = model == self.model, recorded.names
        connection = http.client.HTTPConnection(self.host, self.port, timeout=FIRST_SECONDS)
        try:
            self._infer(connection, model, names, requests[0], timed=False)  # it pays for what is set up lazily
            answers = [self._infer(connection, model, names, inputs, timed=own) for inputs in requests]
        finally:
            connection.close()
        return recorded.compare(recorded.joined(answers))

    def _infer(
        self, connection: http.client.HTTPConnection, model: str, names: list[str], inputs: Arrays, timed: bool = True
    ) -> Arrays:
        begun = time.perf_counter()
        try:
            answer = infer(connection, model, inputs, names)
        except (InferenceError, OSError):
            self.metrics.failed()
            raise
        self._count(time.perf_counter() - begun, timed)
        return answer

    def _put(self, question: Question, inputs: Arrays, timeout: float) -> None:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        begun = time.perf_counter()
        try:
            questions.put(connection, self.model, question, inputs)
        except (InferenceError, OSError):
            self.metrics.failed()
            raise
        finally:
            connection.close()
        self._count(time.perf_counter() - begun, timed=True)

    def _count(self, taken: float, timed: bool) -> None:
        self.metrics.answered(taken if timed else None)
        with self._lock:
            if timed:
                self._latencies.append(taken)
            self._took.append(taken)


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and np.isfinite(value) else None
