"""Candidates on a server: one, in explicit mode, with as many of them loaded as memory allows.

Each candidate is a model of its own name over the same graph, so that those that are measured in turn stay loaded and
nothing has to be loaded between two rounds. An idle model costs no processor time.
"""

from __future__ import annotations

import http.client
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from typing_extensions import override

from trainserve.api.pod import COMPLETE_CONFIGURATION
from trainserve.serving.devserver.server import DevelopmentServer
from trainserve.serving.load import loops
from trainserve.serving.load.record import LoadFailed, Sample
from trainserve.serving.load.requests import Prepared
from trainserve.serving.protocol import control
from trainserve.serving.repository.repository import Entry, write
from trainserve.serving.samples import load_inputs
from trainserve.serving.sources.servable import Servable
from trainserve.serving.tune.trial import Candidate, Measurement, Trial

MOST_LOADED = 8
INSTANCE_BYTES = 128 << 20
"""Of an instance without its weights, generously: 70 MiB were measured."""
WEIGHTS_FACTOR = 3
"""Times its file an instance may hold of a graph: weights, their packed copies, activations."""
LOAD_SECONDS = 60.0
WARM_UP = 0.3
"""Seconds of load by WARM_UP_CALLERS on a model that has just been loaded; before every trial one caller has a third
of it. Both are discarded."""
WARM_UP_CALLERS = 8
PATIENCE = 0.5
"""Seconds, beyond as many as it sent requests, that a trial waits for its last answers."""
SETTLE_SECONDS = 15.0
"""A server that has not answered by then is taken for hung, and started anew."""
UNMEASURED = {"response_cache": False, "warmup": False, "ensemble": None}
"""Answers from memory say nothing of the model; the others say nothing of its latency."""
EXPLICIT = ("--model-control-mode=explicit", COMPLETE_CONFIGURATION)


class Server(Protocol):
    """A server that is up, in explicit mode; it reads the folder that the rig writes its models to."""

    @property
    def url(self) -> str:
        """<host>:<port> of its HTTP endpoint."""

    @property
    def key(self) -> Mapping[str, str]:
        """Headers without which it neither loads nor unloads a model."""

    def ready(self) -> bool:
        """Whether it answers."""

    def restart(self) -> None:
        """Bring it back once it does not, without any model. Raises ServerNotReady."""


class Here(DevelopmentServer):
    """A development server of the tuner's own, without the guard: what is measured is Triton."""

    def __init__(self, command: Path, repository: Path, log: Path) -> None:
        super().__init__(command, repository, log, *EXPLICIT, guard=False)
        self.key: Mapping[str, str] = {}

    def restart(self) -> None:
        """Kill the server and start it again. Raises ServerNotReady."""
        self.kill()
        self.start()

    @override
    def stop(self) -> int | None:
        self.kill()  # it serves nobody, so that a clean shutdown would only take time
        return None


class Rig:
    """A server, and the requests that are sent to it."""

    def __init__(
        self,
        server: Server,
        repository: Path,
        model: Servable,
        candidates: Sequence[Candidate],
        gpus: int = 0,
    ) -> None:
        """Writes the candidates to `repository`, which must lie in an existing folder.

        Raises ShapeUnknown, UnservableModel, InvalidSettings, OSError.
        """
        self._server = server
        self._candidates = {candidate.name: candidate for candidate in candidates}
        self._loaded: dict[str, None] = {}
        rows, outputs = load_inputs.of_model(model), [tensor.name for tensor in model.outputs]
        self._requests = {name: Prepared.inferences("http", name, rows, outputs) for name in self._candidates}
        copy = _beside(model, repository.parent)
        entries = [Entry(each.name, copy, each.settings.model_copy(update=UNMEASURED)) for each in candidates]
        write(entries, repository, gpus, ours=True)
        weights = sum((model.folder / file).stat().st_size for file in model.files)
        self._instance_bytes = INSTANCE_BYTES + WEIGHTS_FACTOR * weights
        self._seed = 0

    def measure(self, trial: Trial) -> Measurement:
        """Run a trial. A candidate that cannot be loaded or brings the server down has a failure for a measurement."""
        begun = time.monotonic()
        try:
            self._load(trial.candidate)
            sample = self._sample(trial)
            if sample.unanswered:
                self._settle(trial.candidate)  # else the next trial would wait behind what this one left
            if sample.errors and not len(sample.latencies_s):
                self._loaded.pop(trial.candidate, None)  # a server that came back on its own has no models
        except (LoadFailed, OSError, http.client.HTTPException) as error:
            if isinstance(error, TimeoutError) or not self._server.ready():
                self._restart()
            return Measurement(trial, cost_s=time.monotonic() - begun, failure=str(error) or type(error).__name__)
        return Measurement.of(trial, sample, time.monotonic() - begun)

    def _sample(self, trial: Trial) -> Sample:
        request, wanted = self._requests[trial.candidate], trial.load
        patience = PATIENCE + wanted.seconds
        loops.closed(self._server.url, request, 1, WARM_UP / 3, patience=SETTLE_SECONDS)
        if wanted.rate is not None:
            self._seed += 1  # each round has arrivals of its own
            return loops.open(
                self._server.url, request, wanted.rate, wanted.seconds, seed=self._seed, patience=patience
            )
        return loops.closed(self._server.url, request, wanted.callers or 1, wanted.seconds, patience=patience)

    def _load(self, name: str) -> None:
        if name in self._loaded:
            self._loaded[name] = self._loaded.pop(name)  # the newest is last
            return
        while self._loaded and not self._room_for(name):
            oldest = next(iter(self._loaded))
            del self._loaded[oldest]
            self._post(f"/v2/repository/models/{oldest}/unload")
        self._post(f"/v2/repository/models/{name}/load")
        self._loaded[name] = None
        loops.closed(self._server.url, self._requests[name], WARM_UP_CALLERS, WARM_UP, patience=SETTLE_SECONDS)

    def _room_for(self, name: str) -> bool:
        needed = self._instance_bytes * self._candidates[name].settings.instances
        return len(self._loaded) < MOST_LOADED and 2 * needed <= _available_bytes()

    def _settle(self, name: str) -> None:
        """Wait until the server is through with requests that nobody waits for any more: it answers in order."""
        if loops.closed(self._server.url, self._requests[name], 1, 0.0, patience=SETTLE_SECONDS).unanswered:
            self._restart()

    def _restart(self) -> None:
        self._loaded.clear()
        self._server.restart()

    def _post(self, path: str) -> None:
        status, content = control.request(self._server.url, "POST", path, LOAD_SECONDS, {}, self._server.key)
        if status != http.client.OK:
            raise LoadFailed(f"{path}: {control.error_message(status, content)}")


def _available_bytes() -> int:
    """Memory that can be had without swapping."""
    found = re.search(r"MemAvailable:\s+([0-9]+) kB", Path("/proc/meminfo").read_text())
    return int(found[1]) << 10 if found else 0


def _beside(model: Servable, folder: Path) -> Servable:
    """One copy of the model in `folder`, that its candidates be links to: never to a user's own files."""
    copy = folder / "model"
    for file in model.files:
        (copy / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(model.folder / file, copy / file)
    return replace(model, folder=copy)
