"""Tuning in a pod of a ModelServe, whose other container runs the server (docs/contracts.md)."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from trainserve.api.messages import Failed, Tuned
from trainserve.api.reasons import Reason
from trainserve.api.triton_releases import POD_HEADER
from trainserve.serving.devserver.server import READY_SECONDS, ServerNotReady
from trainserve.serving.protocol.control import is_ready
from trainserve.serving.protocol.triton_types import UnservableModel
from trainserve.serving.repository.settings import InvalidSettings, Settings
from trainserve.serving.samples.load_inputs import ShapeUnknown
from trainserve.serving.sources.servable import Servable
from trainserve.serving.sources.source import open_servable
from trainserve.serving.tune import tuner
from trainserve.serving.tune.result import Result, described
from trainserve.serving.tune.trial import Objective
from trainserve.store import StoreError
from trainserve.store.names import MANIFEST

POLL = 0.1
"""Seconds between two checks of a server that is not ready."""


class Beside:
    """The server in the pod's other container (rig.Server), which only the node restarts."""

    def __init__(self, url: str, pod_uid: str | None) -> None:
        self.url = url
        self.key = {} if pod_uid is None else {POD_HEADER: pod_uid}

    def ready(self) -> bool:
        """Whether the server is ready."""
        return is_ready(self.url)

    def restart(self) -> None:
        """Wait until the server is ready. Raises ServerNotReady."""
        deadline = time.monotonic() + READY_SECONDS
        while not self.ready():
            if time.monotonic() > deadline:
                raise ServerNotReady(f"no server answers at {self.url} any more")
            time.sleep(POLL)


def run(
    url: str,
    repository: Path,
    version: Path,
    p99_ms: float,
    seconds: float,
    settings: Settings,
    cores: int | None,
    gpus: int,
    pod_uid: str | None = None,
) -> Tuned | Failed:
    """Tune the model, and return the termination message.

    `version` was made by `fetch`; `repository` is that of the server at `url`, which loads models for requests with the
    `pod_uid`, or if that is None, for any.
    """
    server = Beside(url, pod_uid)
    # Cached answers say nothing about the model, and the ensemble is not measured.
    base = settings.model_copy(update={"response_cache": False, "warmup": False, "ensemble": None})
    try:
        server.restart()
        result = tuner.on(server, repository, _model(version), Objective(p99_ms), seconds, base, cores=cores, gpus=gpus)
    except (ServerNotReady, ShapeUnknown, UnservableModel, InvalidSettings, StoreError, OSError) as error:
        return _failed(str(error) or type(error).__name__)
    return outcome(result)


def outcome(result: Result) -> Tuned | Failed:
    """Turn a result into the message for the operator."""
    choice = result.choice
    if choice is not None and choice.held is not None:
        held, chosen = choice.held, choice.candidate.settings
        rate = held.load.rate or held.rate
        batching = chosen.dynamic_batching
        delay: dict[str, Any] = (
            {} if batching.max_queue_delay is None else {"max_queue_delay": batching.max_queue_delay}
        )
        return Tuned(
            held=True,
            message=f"p99 {held.p99_ms:.3g} ms at {rate:.4g}/s with {described(chosen)}",
            instances=chosen.instances,
            threads=chosen.threads,
            max_batch=batching.max_batch,
            **delay,
            p99_ms=round(held.p99_ms, 3),
            requests_per_second=round(rate, 1),
        )
    if all(each.p99_ms is None for each in result.measurements):
        return _failed(next((each.failure for each in result.measurements if each.failure), "nothing was answered"))
    needed = result.needed
    return Tuned(held=False, message=needed.message if needed else "nothing holds the objective")


def _model(version: Path) -> Servable:
    graph = next(version.glob("*.onnx"), version) if not (version / MANIFEST).exists() else version
    return open_servable(str(graph), release=None)


def _failed(message: str) -> Failed:
    return Failed(reason=Reason.TUNING_FAILED, message=message)
