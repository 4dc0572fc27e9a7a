"""Keeps a development server serving, with a keeper (keeper.py) for each of its models.

A server that died or was stopped is started again, by its launcher if that still runs. Meanwhile the guard holds the
requests. A model that cannot be recovered is reported with the server's reason, and the others go on.
"""

from __future__ import annotations

import contextlib
import ctypes
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from trainserve.serving.devserver import processes
from trainserve.serving.devserver.keeper import (
    ATTEMPTS,
    LIVENESS_SECONDS,
    TICK_SECONDS,
    TIMEOUT_SECONDS,
    Keeper,
    ServerRun,
    State,
)
from trainserve.serving.devserver.processes import Processes
from trainserve.serving.devserver.server import READY_SECONDS, ServerNotReady, errors
from trainserve.serving.protocol.control import Control
from trainserve.serving.protocol.infer import InferenceError
from trainserve.serving.repository.unbatched import Unbatched
from trainserve.serving.samples.recorded import Recorded
from trainserve.serving.verification.user_samples import Given

STOP_SECONDS = 15.0
"""Longer than the guard's draining and the server's own exit timeout together: only a hang exceeds it."""
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Change:
    """A new state of a model, or of the server if `model` is empty."""

    model: str
    state: State
    message: str


class NothingServed(Exception):
    """No model could be served; the message has the reason for each."""


class Supervisor:
    """One server with its models."""

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
        """`command` starts the server, whose HTTP endpoint is at `url` and whose output goes to `log`.

        `models` maps each model to its recorded or given samples; without samples, any answer counts as verified.
        `tell` is called with each change. `unbatched` maps models to their configurations without batches.
        """
        self.command, self.repository, self.log, self.url = list(command), repository, log, url
        self.models, self.tell = models, tell
        self._unbatched = dict(unbatched or {})
        self.states: dict[str, tuple[State, str]] = {}
        self._launched: subprocess.Popen[bytes] | None = None
        """The launcher, which can start its server again."""
        self._lock = threading.Lock()

    def run(self, stopped: threading.Event) -> None:
        """Serve until `stopped` is set. Call it in the main thread: the server ends with the thread that started it.

        Raises ServerNotReady if the server does not start, or ends repeatedly, and NothingServed.
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
            except ServerNotReady as error:  # may pass if it served before: a port can be taken for a moment
                vain += 1
                if not served or vain == ATTEMPTS:
                    raise
                self._change("", "restarting", str(error))
                stopped.wait(LIVENESS_SECONDS)
                continue
            keepers = [
                threading.Thread(target=Keeper(run, model, samples, self._unbatched, self._change).keep, daemon=True)
                for model, samples in self.models.items()
            ]
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

    def _start(self, stopped: threading.Event) -> ServerRun:
        """Wait for the server that the launcher has started again, or for that of a new launcher."""
        before, self._launched = self._launched, None
        process = before if before is not None and before.poll() is None else self._launch()
        run = ServerRun(process, Processes(process.pid, self.repository), self.url, self.repository, self.log)
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
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)  # a clean shutdown, however this process ends

        with self.log.open("wb") as log:
            return subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a terminal's Ctrl-C reaches only this process, which drains the server
                preexec_fn=prepare,
            )

    def _watch(self, run: ServerRun, stopped: threading.Event) -> str | None:
        """Wait until the server must be restarted, and return why; None if `stopped` is set."""
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

    def _end(self, run: ServerRun, stopped: threading.Event) -> None:
        """Drain and end the server if `stopped`, else kill it; a launcher that still runs is kept for a restart."""
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
        psutil.wait_procs(members, STOP_SECONDS)  # so that its ports are free

    def _change(self, model: str, state: State, message: str) -> None:
        with self._lock:
            if self.states.get(model) != (state, message):
                self.states[model] = (state, message)
                self.tell(Change(model, state, message))
