"""The test rig: a server in explicit model control mode, with as many candidates loaded as memory allows.

Each candidate is a model of its own name with the same graph, so that candidates measured in turn stay loaded between
rounds. An idle model costs no processor time.
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
"""Estimated memory of an instance without its weights; 70 MiB were measured."""
WEIGHTS_FACTOR = 3
"""Estimated memory of an instance's weights, packed copies and activations, as a multiple of the graph's files."""
LOAD_SECONDS = 60.0
WARM_UP = 0.3
"""Seconds of load by WARM_UP_CALLERS on a model that was just loaded; before each trial, one caller runs for a third of
it. Both are discarded."""
WARM_UP_CALLERS = 8
PATIENCE = 0.5
"""Seconds that a trial waits for its last answers, beyond its own duration."""
SETTLE_SECONDS = 15.0
"""Timeout after which a server counts as hung, and is restarted."""
UNMEASURED = {"response_cache": False, "warmup": False, "ensemble": None}
"""Settings that would distort the model's latency, such as cached answers, or do not affect it."""
EXPLICIT = ("--model-control-mode=explicit", COMPLETE_CONFIGURATION)


class Server(Protocol):
    """A running server in explicit model control mode, which reads the repository that the rig writes."""

    @property
    def url(self) -> str:
        """<host>:<port> of its HTTP endpoint."""

    @property
    def key(self) -> Mapping[str, str]:
        """Headers that requests to load or unload a model must have."""

    def ready(self) -> bool:
        """Whether the server is ready."""

    def restart(self) -> None:
        """Restart the server, without any loaded model. Raises ServerNotReady."""


class Here(DevelopmentServer):
    """The tuner's own development server, without the guard, so that Triton itself is measured."""

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
    """A server with the candidates, and the requests to send."""

    def __init__(
        self,
        server: Server,
        repository: Path,
        model: Servable,
        candidates: Sequence[Candidate],
        gpus: int = 0,
    ) -> None:
        """Write the candidates to `repository`, whose parent folder must exist.

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
        """Run a trial. If the candidate cannot be loaded, or ends the server, the measurement is a failure."""
        begun = time.monotonic()
        try:
            self._load(trial.candidate)
            sample = self._sample(trial)
            if sample.unanswered:
                self._settle(trial.candidate)  # else the next trial would wait for the requests of this one
            if sample.errors and not len(sample.latencies_s):
                self._loaded.pop(trial.candidate, None)  # a server that was restarted by the node has no loaded models
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
            self._seed += 1  # different arrival times in each round
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
        """Wait until the server has finished the abandoned requests, which it answers in order."""
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
    """Return the memory available without swapping."""
    found = re.search(r"MemAvailable:\s+([0-9]+) kB", Path("/proc/meminfo").read_text())
    return int(found[1]) << 10 if found else 0


def _beside(model: Servable, folder: Path) -> Servable:
    """Copy the model to `folder`, so that its candidates are hard links to the copy, never to a user's files."""
    copy = folder / "model"
    for file in model.files:
        (copy / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(model.folder / file, copy / file)
    return replace(model, folder=copy)
