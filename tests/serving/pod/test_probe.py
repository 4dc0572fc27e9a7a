"""The probe in this process, beside a server that stops and is replaced by another."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.serving import faulty
from trainserve.serving.devserver.server import DevelopmentServer
from trainserve.serving.pod.probe import Probe
from trainserve.serving.samples.recorded import Recorded

Start = Callable[..., DevelopmentServer]
VERIFICATIONS = "trainserve_probe_verifications_total"
INFERENCES = "trainserve_probe_inferences_total"


def value(probe: Probe, name: str, **labels: str) -> float | None:
    return probe.metrics.registry.get_sample_value(name, labels)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    faulty.place(tmp_path / "repository", "animals", faulty.network().SerializeToString())
    return tmp_path / "repository"


@pytest.fixture
def recorded() -> Recorded:
    inputs = {"images": faulty.images(8)}
    return Recorded(inputs, faulty.answered(inputs), 1e-3, 1e-5)


def test_a_server_that_comes_back_as_another_is_found_out(start: Start, repository: Path, recorded: Recorded) -> None:
    server = start(repository, "--disable-auto-complete-config")
    probe, running = Probe("127.0.0.1", server.http_port, "animals", recorded), threading.Event()
    assert probe.verify_when_due(running)
    assert (probe.verified, value(probe, VERIFICATIONS, result="matched")) == (True, 1)
    assert probe.alive()[0]

    server.kill()
    assert not probe.alive()[0]
    assert value(probe, "trainserve_probe_up") == 0
    assert value(probe, INFERENCES, result="failed") == 1

    (repository / "animals/1/model.onnx").write_bytes(faulty.network(seed=1).SerializeToString())
    server.start()
    assert probe.alive()[0]
    assert value(probe, "trainserve_probe_up") == 1
    assert probe.verify_when_due(running)
    assert (probe.verified, probe.reason) == (False, "OutputMismatch")
    assert value(probe, VERIFICATIONS, result="mismatched") == 1
    assert value(probe, "trainserve_probe_verified") == 0
    assert (value(probe, "trainserve_probe_max_abs_difference") or 0) > 0.1


def test_a_server_that_does_not_answer_is_asked_again_a_second_later(start: Start, repository: Path) -> None:
    server = start(repository, "--disable-auto-complete-config")
    inputs = {"no such input": faulty.images(8)}
    unanswered = Recorded(inputs, faulty.answered({"images": faulty.images(8)}), 1e-3, 1e-5)
    probe, stopped = Probe("127.0.0.1", server.http_port, "animals", unanswered), threading.Event()
    thread = threading.Thread(target=probe.verify_when_due, args=(stopped,))
    thread.start()
    try:
        begun = failed(probe, 1)
        assert failed(probe, 3) - begun > 1.5
    finally:
        stopped.set()
        thread.join()
    assert (probe.verified, probe.reason) == (None, "InferenceFailed")


def failed(probe: Probe, times: int) -> float:
    """Wait until `times` inferences have failed; return the monotonic time in seconds."""
    deadline = time.monotonic() + 30
    while (value(probe, INFERENCES, result="failed") or 0) < times:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return time.monotonic()


def test_a_probe_that_shall_stop_waits_no_longer(recorded: Recorded) -> None:
    probe, stopped = Probe("127.0.0.1", 1, "animals", recorded), threading.Event()
    stopped.set()
    assert not probe.verify_when_due(stopped)


def test_what_was_never_compared_is_no_number(recorded: Recorded) -> None:
    probe = Probe("127.0.0.1", 1, "animals", recorded)
    for name in ("trainserve_probe_max_abs_difference", "trainserve_probe_verification_timestamp_seconds"):
        found = value(probe, name)
        assert found is not None and np.isnan(found)
    assert value(probe, "trainserve_probe_verified") == 0
