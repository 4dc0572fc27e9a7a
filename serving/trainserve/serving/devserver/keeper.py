"""Keeps one model of a development server serving: verified before it counts as ready, watched, recovered.

A model that does not answer, or whose backend process (the python backend's) died or was stopped, is loaded again; the
other models are not disturbed.
"""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from trainserve.serving.devserver import processes, refusals
from trainserve.serving.devserver.processes import Processes
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
"""Between two inferences that check whether a model is alive."""
TELL_SECONDS = 10.0
"""After which the user is told that a model's first answers take long."""
TIMEOUT_SECONDS = 3.0
"""Timeout of a control request that loads nothing."""
LOAD_SECONDS = 60.0
RELOAD_SECONDS = 5.0
"""Minimum timeout to load a model again; three times as long as the server took to load all models, if that is more."""
ATTEMPTS = 3
"""Failures in a row to recover a model, or to start a server, before giving up."""

State = Literal[
    "starting", "ready", "failed", "recovering", "unloaded", "unwatched", "restarting", "draining", "stopped"
]


class WrongAnswers(Exception):
    """A model's answers differ from the recorded ones; the message says by how much."""


@dataclass
class ServerRun:
    """One process of the server, from start to end."""

    process: subprocess.Popen[bytes]
    table: Processes
    url: str
    repository: Path
    log: Path
    begun: float = field(default_factory=time.monotonic)
    over: threading.Event = field(default_factory=threading.Event)
    broken: str | None = None
    """Why the server must be restarted, if a keeper found that out."""
    loaded_seconds: float = 0.0
    """Duration of loading all models."""

    def message(self, model: str, reason: str) -> str:
        """Why the server has not loaded `model`: its own `reason`, or what its log says where that says nothing."""
        return refusals.words(model, reason, self.log.read_text(errors="replace"))


class Keeper:
    """Watches one model during one run of the server."""

    def __init__(
        self,
        run: ServerRun,
        model: str,
        recorded: Recorded | Given | None,
        unbatched: dict[str, Unbatched],
        change: Callable[[str, State, str], None],
    ) -> None:
        """`unbatched` maps models to their configurations without batches; `change` is called with each new state."""
        self.run, self.model, self.recorded = run, model, recorded
        self._unbatched, self._change = unbatched, change
        self._control = Control(run.url, LOAD_SECONDS)

    def keep(self) -> None:
        """Watch the model until the run is over. An error in the watching itself is reported, and it starts again."""
        while not self.run.over.is_set():
            try:
                self._watch()
                return
            except Exception as error:  # whatever it is, a model that serves must not go unwatched
                traceback.print_exc()
                self._tell("unwatched", f"it may serve, but is not watched for the moment: {error!r}")
                self.run.over.wait(LIVENESS_SECONDS)

    def _watch(self) -> None:
        run, begun, attempts = self.run, self.run.begun, 0
        while not run.over.is_set():
            try:
                loaded, reason = self._state()
                if not loaded:
                    self._tell("unloaded" if reason == "unloaded" else "failed", run.message(self.model, reason))
                    self._wait_until_loaded()
                    begun, attempts = time.monotonic(), 0
                    continue
                probe = self._verify()
                if probe.company.mixed and self._leave_batches(probe.company.mixed):
                    continue
                seconds = time.monotonic() - begun
                self._tell("ready", f"after {seconds:.1f} s: {probe.message}{self._batching(probe)}")
                attempts = 0
                why = self._wait_for_fault(probe)
            except WrongAnswers as error:
                with contextlib.suppress(OSError, InferenceError):
                    self._control.unload(self.model)
                self._tell("failed", f"it gives wrong answers and was unloaded: {error}")
                return
            except (OSError, NoServer) as error:
                why = f"the server does not answer: {error}"
            except InferenceError as error:
                why = str(error)
            if why is None:
                continue
            if run.over.is_set() or not run.table.whole():
                return  # the server itself has ended, which the supervisor sees
            attempts += 1
            begun = time.monotonic()
            if attempts > ATTEMPTS:
                self._tell("failed", f"given up after {ATTEMPTS} attempts to recover it: {why}")
                return
            self._tell("recovering", why)
            try:
                self._reload()
            except OSError as error:
                run.broken = f"it does not answer: {error}"
                return
            except InferenceError as error:
                self._tell("failed", run.message(self.model, str(error)))

    def _state(self) -> tuple[bool, str]:
        return self._control.states().get(self.model, (False, "the server does not know it"))

    def _batching(self, probe: Probe) -> str:
        """Why the model's requests are not batched, or should not be."""
        known = self._unbatched.get(self.model)
        if probe.company.mixed:
            return f"; batched, and {probe.company.mixed}"
        return f"; not batched: {known.batching.reason}" if known is not None and known.batching.axis == "none" else ""

    def _leave_batches(self, why: str) -> bool:
        """Load the model again without batches; False if there is no configuration for that."""
        known = self._unbatched.get(self.model)
        if known is None or not known.configs:
            return False
        self._change(self.model, "recovering", f"loading it again without batches: {why}")
        self._unbatched[self.model] = known.apply(self.run.repository, why)
        for name in reversed(list(known.configs)):  # an ensemble before its steps
            with contextlib.suppress(InferenceError):
                self._control.unload(name, recovering=True)
        for name in known.configs:
            self._control.load(name)
        return True

    def _wait_until_loaded(self) -> None:
        while not self.run.over.wait(LIVENESS_SECONDS):
            if self._state()[0]:
                return

    def _verify(self) -> Probe:
        """Return the probe for later inferences, once the model's answers are verified.

        Raises WrongAnswers, NoServer, InferenceError, OSError.
        """
        run, raised = self.run, list[Exception]()
        host, _, port = run.url.rpartition(":")
        probe = Probe(host, int(port), self.model, self.recorded)

        def verify() -> None:
            try:
                probe.verify()
            except Exception as error:
                raised.append(error)

        asking = threading.Thread(target=verify, daemon=True)
        backends, begun = run.table.backends(self.model), time.monotonic()
        asking.start()
        while asking.is_alive() and not run.over.is_set():
            asking.join(TICK_SECONDS)
            if asking.is_alive() and (fault := run.table.fault(backends)):
                raise InferenceError(fault)
            if time.monotonic() - begun > TELL_SECONDS:
                self._tell("starting", f"it takes long to answer; waiting up to {FIRST_SECONDS:.0f} s")
        if raised:
            raise raised[0]
        if not probe.verified and not run.over.is_set():
            raise WrongAnswers(probe.message)
        return probe

    def _wait_for_fault(self, probe: Probe) -> str | None:
        """Watch a model that is ready; returns what is wrong. None if a user unloaded it or loaded it again."""
        run, control = self.run, self._control
        backends = run.table.backends(self.model)
        asked, finished = time.monotonic(), 0
        with contextlib.suppress(InferenceError):  # a model that was unloaded meanwhile is seen below
            finished = control.finished(self.model)
        while not run.over.wait(TICK_SECONDS):
            why = run.table.fault(backends)
            if why is None and not all(process.is_running() for process in backends):
                return None
            if why is None and probe.asks and time.monotonic() - asked >= LIVENESS_SECONDS:
                asked = time.monotonic()
                try:
                    before, finished = finished, control.finished(self.model)
                    if finished < before:  # the counters of a model that was loaded again start at 0
                        return None
                    alive, words = probe.alive(TICK_SECONDS)
                    why = None if alive else words
                except InferenceError as error:  # for example: there is no such model
                    why = str(error)
            if why is not None:
                return why if self._state()[0] else None
        return None

    def _reload(self) -> None:
        processes.kill(self.run.table.backends(self.model))
        Control(self.run.url, TIMEOUT_SECONDS).unload(self.model, recovering=True)
        Control(self.run.url, max(RELOAD_SECONDS, 3 * self.run.loaded_seconds)).load(self.model)

    def _tell(self, state: State, message: str) -> None:
        if not self.run.over.is_set():  # afterwards the states of this server are meaningless
            self._change(self.model, state, message)
