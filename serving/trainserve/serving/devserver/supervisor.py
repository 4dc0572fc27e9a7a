"""Keeps a development server and each of its models serving: verified before they count, watched, recovered.

A model that does not answer, or whose process (the python backend's) died or stopped, is loaded anew, undisturbed by
and not disturbing the others. A server that died or stopped is started anew, by its launcher if that is well. The guard
holds the requests meanwhile. What cannot be helped is told by the model's name with the server's reason, and the others
go on.
"""

from __future__ import annotations

import contextlib
import ctypes
import signal
import subprocess
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import psutil

from trainserve.serving.devserver import processes, refusals
from trainserve.serving.devserver.processes import Processes
from trainserve.serving.devserver.server import READY_SECONDS, ServerNotReady, errors
from trainserve.serving.pod.inferences import FIRST_SECONDS
from trainserve.serving.pod.probe import Probe
from trainserve.serving.protocol.control import Control
from trainserve.serving.protocol.infer import InferenceError
from trainserve.serving.repository.unbatched import Unbatched
from trainserve.serving.samples.recorded import Recorded
from trainserve.serving.verification.description import NoServer
from trainserve.serving.verification.user_samples import Given

TICK_SECONDS = 0.25
LIVENESS_SECONDS = 1.0
"""Between two inferences that show that a model lives."""
TELL_SECONDS = 10.0
"""After which it is said that a model's first answers take long."""
TIMEOUT_SECONDS = 3.0
"""For what is asked of a server that is loading nothing."""
LOAD_SECONDS = 60.0
RELOAD_SECONDS = 5.0
"""To load a model anew at least; three times as long as the server took to load all of them, if that is longer."""
ATTEMPTS = 3
"""To recover a model, or to start a server, without any success; then it is given up."""
STOP_SECONDS = 15.0
"""Beyond the guard's draining and the server's own exit timeout only a hang lasts."""
_PR_SET_PDEATHSIG = 1

State = Literal[
    "starting", "ready", "failed", "recovering", "unloaded", "unwatched", "restarting", "draining", "stopped"
]


@dataclass(frozen=True)
class Change:
    """What has become of a model, or of the server, whose name is empty."""

    model: str
    state: State
    message: str


class WrongAnswers(Exception):
    """A model answers, and not what was recorded; the message says how far off it is."""


class NothingServed(Exception):
    """No model came up; the message holds each one's reason."""


@dataclass
class _Run:
    """One process of the server's, from start to end."""

    process: subprocess.Popen[bytes]
    table: Processes
    begun: float = field(default_factory=time.monotonic)
    over: threading.Event = field(default_factory=threading.Event)
    broken: str | None = None
    loaded_seconds: float = 0.0


class Supervisor:
    """One server with its models. `models` has the recorded samples of each, or those that were given with it; None:
    made-up inputs must do."""

    def __init__(
        self,
        command: Sequence[str],
        repository: Path,
        log: Path,
        url: str,
        models: Mapping[str, Recorded | Given | None],
        tell: Callable[[Change], None],
        unbatched: Mapping[str, Unbatched] | None = None,
    ) -> None:
        """`command` starts the server, whose HTTP endpoint is at `url` and whose output goes to `log`."""
        self.command, self.repository, self.log, self.url = list(command), repository, log, url
        self.models, self.tell = models, tell
        self._unbatched = dict(unbatched or {})
        """How each model is served without batches, where a trial shows that its rows do not stand alone."""
        self.states: dict[str, tuple[State, str]] = {}
        self._launched: subprocess.Popen[bytes] | None = None
        """The launcher, which outlives its server."""
        self._lock = threading.Lock()

    def run(self, stopped: threading.Event) -> None:
        """Serve until `stopped` is set; call it in the main thread, with which the server ends.

        Raises ServerNotReady when the server does not come up, or goes down again and again, and NothingServed.
        """
        try:
            self._serve(stopped)
        finally:
            if self._launched is not None and self._launched.poll() is None:
                self._kill(Processes(self._launched.pid, self.repository), self._launched)

    def _serve(self, stopped: threading.Event) -> None:
        served, vain = False, 0
        while not stopped.is_set():
            self.states.clear()
            try:
                run = self._start(stopped)
            except ServerNotReady as error:  # what served before does so again: a port may be taken for a moment
                vain += 1
                if not served or vain == ATTEMPTS:
                    raise
                self._change("", "restarting", str(error))
                stopped.wait(LIVENESS_SECONDS)
                continue
            keepers = [threading.Thread(target=self._keep, args=(run, model), daemon=True) for model in self.models]
            try:
                if not stopped.is_set():
                    for keeper in keepers:
                        keeper.start()
                why = self._watch(run, stopped)
            finally:
                run.over.set()
                self._end(run, stopped)
            if why is None:
                return
            ready = any(state == "ready" for state, _ in self.states.values())
            served, vain = served or ready, 0 if ready else vain + 1
            if vain == ATTEMPTS:
                raise ServerNotReady(f"it ended {vain} times before a model was ready: {why}")
            self._change("", "restarting", why)

    def _start(self, stopped: threading.Event) -> _Run:
        """The server that the launcher has started anew, or that of a new launcher."""
        before, self._launched = self._launched, None
        process = before if before is not None and before.poll() is None else self._launch()
        run = _Run(process, Processes(process.pid, self.repository))
        control = Control(self.url, TIMEOUT_SECONDS)
        begun = time.monotonic()
        while not stopped.is_set():
            try:
                control.states()
                run.loaded_seconds = time.monotonic() - begun
                break
            except (OSError, InferenceError):
                if process.poll() is not None or time.monotonic() - begun > READY_SECONDS:
                    status = process.poll()
                    self._kill(run.table, process)
                    if process is before:
                        return self._start(stopped)
                    raise ServerNotReady(f"tritonserver (exit status {status}): {errors(self.log)}") from None
                stopped.wait(0.02)
        run.table.found()
        return run

    def _launch(self) -> subprocess.Popen[bytes]:
        libc = ctypes.CDLL(None)

        def prepare() -> None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)  # its own end is tidy, however this process ends

        with self.log.open("wb") as log:
            return subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a terminal's Ctrl-C is for this process, which drains the server
                preexec_fn=prepare,
            )

    def _watch(self, run: _Run, stopped: threading.Event) -> str | None:
        """Until the server needs to be started anew; why, or None when it was stopped."""
        while not stopped.wait(TICK_SECONDS):
            status = run.process.poll()
            if status is not None:
                return f"it ended with exit status {status}: {errors(self.log)[-300:]}"
            if why := run.table.stopped() or run.broken:
                return why
            if run.table.replaced():
                return f"its process ended: {(errors(self.log).splitlines() or [''])[-1][-300:]}"
            settled = {model: state for model, state in self.states.items() if state[0] in ("ready", "failed")}
            if settled.keys() == self.models.keys() and all(state == "failed" for state, _ in settled.values()):
                raise NothingServed("; ".join(f"{model}: {reason}" for model, (_, reason) in settled.items()))
        return None

    def _end(self, run: _Run, stopped: threading.Event) -> None:
        """Drain and end it where it was told to stop, else kill it; a launcher that is well stays to start anew."""
        if not stopped.is_set() and run.table.triton is not None and run.table.launching():
            processes.kill([run.table.triton])
            self._launched = run.process
            return
        if stopped.is_set() and run.process.poll() is None:
            self._change("", "draining", "answering what is being asked")
            run.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                run.process.wait(STOP_SECONDS)
        self._kill(run.table, run.process)
        if stopped.is_set():
            self._change("", "stopped", "")

    def _kill(self, table: Processes, launcher: subprocess.Popen[bytes]) -> None:
        members = table.server()
        processes.kill(members)
        launcher.wait()
        psutil.wait_procs(members, STOP_SECONDS)  # its ports are free then

    # What one thread for each model does.

    def _keep(self, run: _Run, model: str) -> None:
        """Watch a model until the server is over. Nothing ends that in silence: what goes wrong in the watching itself
        is told, and it begins anew."""
        while not run.over.is_set():
            try:
                self._watch_model(run, model)
                return
            except Exception as error:  # whatever it is, a model that serves must not go unwatched
                traceback.print_exc()
                self._tell_of(run, model, "unwatched", f"it may serve, and is not watched for the moment: {error!r}")
                run.over.wait(LIVENESS_SECONDS)

    def _watch_model(self, run: _Run, model: str) -> None:
        control = Control(self.url, LOAD_SECONDS)
        begun, attempts = run.begun, 0
        while not run.over.is_set():
            try:
                loaded, reason = control.states().get(model, (False, "the server does not know it"))
                if not loaded:
                    state: State = "unloaded" if reason == "unloaded" else "failed"
                    self._tell_of(run, model, state, self._words(model, reason))
                    self._wait_until_loaded(run, control, model)
                    begun, attempts = time.monotonic(), 0
                    continue
                probe = self._verify(run, model)
                if probe.company.mixed and self._leave_batches(control, model, probe.company.mixed):
                    continue
                words = f"after {time.monotonic() - begun:.1f} s: {probe.message}{self._batching(model, probe)}"
                self._tell_of(run, model, "ready", words)
                attempts = 0
                why = self._wait_for_fault(run, control, model, probe)
            except WrongAnswers as error:
                with contextlib.suppress(OSError, InferenceError):
                    control.unload(model)
                self._tell_of(run, model, "failed", f"it gives wrong answers and was unloaded: {error}")
                return
            except (OSError, NoServer) as error:
                why = f"the server does not answer: {error}"
            except InferenceError as error:
                why = str(error)
            if why is None:
                continue
            if run.over.is_set() or not run.table.whole():
                return  # the server itself is gone, which is seen and told elsewhere
            attempts += 1
            begun = time.monotonic()
            if attempts > ATTEMPTS:
                self._tell_of(run, model, "failed", f"given up after {ATTEMPTS} attempts to recover it: {why}")
                return
            self._tell_of(run, model, "recovering", why)
            try:
                self._load_anew(run, model)
            except OSError as error:
                run.broken = f"it does not answer: {error}"
                return
            except InferenceError as error:
                self._tell_of(run, model, "failed", self._words(model, str(error)))

    def _batching(self, model: str, probe: Probe) -> str:
        """Why a model's requests are not gathered; of one that is gathered against its nature, what becomes of it."""
        known = self._unbatched.get(model)
        if probe.company.mixed:
            return f"; batched, and {probe.company.mixed}"
        return f"; not batched: {known.batching.reason}" if known is not None and known.batching.axis == "none" else ""

    def _leave_batches(self, control: Control, model: str, why: str) -> bool:
        """Load a model anew without batches; False where nobody has said how."""
        known = self._unbatched.get(model)
        if known is None or not known.configs:
            return False
        self._change(model, "recovering", f"it is loaded anew without batches: {why}")
        self._unbatched[model] = known.apply(self.repository, why)
        for name in reversed(list(known.configs)):  # an ensemble before what it is made of
            with contextlib.suppress(InferenceError):
                control.unload(name, recovering=True)
        for name in known.configs:
            control.load(name)
        return True

    def _words(self, model: str, reason: str) -> str:
        """Why the server has not loaded a model: in its log alone, where it says nothing of it elsewhere."""
        return refusals.words(model, reason, self.log.read_text(errors="replace"))

    def _wait_until_loaded(self, run: _Run, control: Control, model: str) -> None:
        while not run.over.wait(LIVENESS_SECONDS):
            if control.states().get(model, (False, ""))[0]:
                return

    def _verify(self, run: _Run, model: str) -> Probe:
        """What asks the model from now on, which it has answered as it should.

        Raises WrongAnswers, NoServer, InferenceError, OSError.
        """
        host, _, port = self.url.rpartition(":")
        probe = Probe(host, int(port), model, self.models[model])
        raised: list[Exception] = []

        def verify() -> None:
            try:
                probe.verify()
            except Exception as error:
                raised.append(error)

        asking = threading.Thread(target=verify, daemon=True)
        backends, begun = run.table.backends(model), time.monotonic()
        asking.start()
        while asking.is_alive() and not run.over.is_set():
            asking.join(TICK_SECONDS)
            if asking.is_alive() and (fault := run.table.fault(backends)):
                raise InferenceError(fault)
            if time.monotonic() - begun > TELL_SECONDS:
                self._tell_of(run, model, "starting", f"it takes long to answer; waiting up to {FIRST_SECONDS:.0f} s")
        if raised:
            raise raised[0]
        if not probe.verified and not run.over.is_set():
            raise WrongAnswers(probe.message)
        return probe

    def _wait_for_fault(self, run: _Run, control: Control, model: str, probe: Probe) -> str | None:
        """Watch a model that is ready. None: it was unloaded or loaded anew on somebody's request."""
        backends = run.table.backends(model)
        asked, finished = time.monotonic(), 0
        with contextlib.suppress(InferenceError):  # it was unloaded meanwhile, as is seen below
            finished = control.finished(model)
        while not run.over.wait(TICK_SECONDS):
            why = run.table.fault(backends)
            if why is None and not all(process.is_running() for process in backends):
                return None
            if why is None and probe.asks and time.monotonic() - asked >= LIVENESS_SECONDS:
                asked = time.monotonic()
                try:
                    before, finished = finished, control.finished(model)
                    if finished < before:  # a model that is loaded anew counts anew
                        return None
                    alive, words = probe.alive(TICK_SECONDS)
                    why = None if alive else words
                except InferenceError as error:  # such as that there is no such model
                    why = str(error)
            if why is not None:
                return why if control.states().get(model, (False, ""))[0] else None
        return None

    def _load_anew(self, run: _Run, model: str) -> None:
        processes.kill(run.table.backends(model))
        Control(self.url, TIMEOUT_SECONDS).unload(model, recovering=True)
        Control(self.url, max(RELOAD_SECONDS, 3 * run.loaded_seconds)).load(model)

    def _tell_of(self, run: _Run, model: str, state: State, message: str) -> None:
        if not run.over.is_set():  # else nothing of this server counts any more
            self._change(model, state, message)

    def _change(self, model: str, state: State, message: str) -> None:
        with self._lock:
            if self.states.get(model) != (state, message):
                self.states[model] = (state, message)
                self.tell(Change(model, state, message))
