"""The tuner in a pod: its termination message, and a run against a server that it did not start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from trainserve.api import messages
from trainserve.serving.devserver.server import DevelopmentServer
from trainserve.serving.repository.settings import Settings
from trainserve.serving.tune import candidates
from trainserve.serving.tune.pod import outcome, run
from trainserve.serving.tune.result import Result, Subject
from trainserve.serving.tune.trial import Candidate, Load, Measurement, Objective, Trial

SETTINGS = Settings.model_validate(
    {"instances": 2, "threads": 1, "dynamicBatching": {"maxBatch": 8, "maxQueueDelay": "500us"}}
)


def result(p99_ms: float | None, failure: str = "") -> Result:
    """Return a result with one candidate that was measured and confirmed at 900 requests a second."""
    trial = Trial("b8", "confirm", Load(seconds=1.0, rate=900.0))
    half = None if p99_ms is None else p99_ms / 2
    measured = Measurement(trial, rate=900.0, p50_ms=half, p99_ms=p99_ms, requests=900, failure=failure)
    subject = Subject("digits", "sha256:" + "0" * 64, {"cpu": "one", "cores": 2}, "server")
    return Result(subject, Objective(20.0, 900.0), (Candidate("b8", SETTINGS),), (measured,) * 7, 10.0)


def test_a_choice_is_told_as_the_operator_reads_it() -> None:
    told = outcome(result(15.5))
    assert told.wire() == {
        "formatVersion": 1,
        "outcome": "Tuned",
        "held": True,
        "message": "p99 15.5 ms at 900/s with batch 8, delay 500us, 2 x 1 threads",
        "instances": 2,
        "threads": 1,
        "maxBatch": 8,
        "maxQueueDelay": "500us",
        "p99Ms": 15.5,
        "requestsPerSecond": 900.0,
    }
    assert messages.of(told.wire()) == told


def test_what_nothing_holds_says_what_would_be_needed() -> None:
    told = outcome(result(40.0))
    assert isinstance(told, messages.Tuned) and not told.held
    assert "an objective of 45 ms is feasible" in told.message
    assert messages.of(told.wire()) == told


def test_a_server_that_answered_nobody_is_no_objective_out_of_reach() -> None:
    told = outcome(result(None, failure="the model cannot be loaded"))
    assert told == messages.Failed(reason="TuningFailed", message="the model cannot be loaded")
    assert outcome(replace(result(1.0), measurements=())).wire()["reason"] == "TuningFailed"


def test_it_measures_on_the_server_beside_it(
    start: Callable[..., DevelopmentServer], fetched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "BATCHES", (8,))
    repository = tmp_path / "repository"
    repository.mkdir()
    server = start(repository, "--model-control-mode=explicit", "--disable-auto-complete-config")
    told = run(server.url, repository, fetched / "version", 1.0, 1.0, Settings(warmup=True), 1, 0)
    assert isinstance(told, messages.Tuned), told
    assert messages.of(told.wire()) == told
    assert repository.joinpath("c00", "config.pbtxt").exists()
