"""Tuning: runs the search's trials of candidates on a server, and returns the result."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trainserve.serving.repository.settings import Settings
from trainserve.serving.sources.servable import Servable
from trainserve.serving.tune import candidates, saved
from trainserve.serving.tune.result import Result, Subject
from trainserve.serving.tune.rig import Here, Rig, Server
from trainserve.serving.tune.search import search
from trainserve.serving.tune.trial import Measurement, Objective

Watch = Callable[[Measurement], Any]


def subject(model: Servable) -> Subject:
    """Return the subject: the model on this machine and its server."""
    return Subject(model.name, model.digest, saved.hardware(), saved.server())


def tune(
    command: Path,
    model: Servable,
    objective: Objective,
    seconds: float,
    base: Settings = candidates.BASE,
    watch: Watch = lambda measurement: None,
) -> Result:
    """Tune for about `seconds` on a new development server; `watch` is called with each measurement.

    Raises ServerNotReady, ShapeUnknown, UnservableModel, InvalidSettings.
    """
    with tempfile.TemporaryDirectory(prefix="trainserve-tune-") as name:
        folder = Path(name)
        (folder / "repository").mkdir()
        with Here(command, folder / "repository", folder / "log") as server:
            return on(server, folder / "repository", model, objective, seconds, base, watch=watch)


def on(
    server: Server,
    repository: Path,
    model: Servable,
    objective: Objective,
    seconds: float,
    base: Settings = candidates.BASE,
    *,
    cores: int | None = None,
    gpus: int = 0,
    watch: Watch = lambda measurement: None,
) -> Result:
    """Tune on a server that reads `repository`, with `cores` (default: this machine's) and `gpus`."""
    begun = time.monotonic()
    cores = cores or saved.cores()
    tried = candidates.candidates(cores, batched=model.batched, p99_ms=objective.p99_ms, base=base, gpus=gpus)
    references = candidates.references(cores)
    rig = Rig(server, repository, model, [*tried, *references], gpus)
    measurements: list[Measurement] = []
    trials = search(tried, references, objective, seconds)
    with contextlib.suppress(StopIteration):
        trial = next(trials)
        while True:
            measurements.append(rig.measure(trial))
            watch(measurements[-1])
            trial = trials.send(measurements[-1])
    everyone = (*tried, *references)
    return Result(subject(model), objective, everyone, tuple(measurements), time.monotonic() - begun)
