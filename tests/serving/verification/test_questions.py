"""Models without samples are served too, and a cached answer does not make a dead model count as alive."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import psutil
import pytest

from tests.serving import python_models
from tests.serving.graphs import convnet
from trainserve.api.reasons import Reason
from trainserve.serving.devserver.server import DevelopmentServer
from trainserve.serving.pod.fetch import fetch_model
from trainserve.serving.pod.probe import Probe
from trainserve.serving.repository import repository
from trainserve.serving.repository.settings import Settings
from trainserve.serving.verification.questions import fresh

CACHED = Settings(response_cache=True)


@pytest.fixture
def lone(tmp_path: Path, start: Callable[..., DevelopmentServer]) -> DevelopmentServer:
    """A server of a lone graph whose response cache answers repeated requests."""
    path = tmp_path / "net.onnx"
    onnx.save(convnet(), path)
    digest = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    outcome = fetch_model(str(path), digest, tmp_path / "into", "net", CACHED)
    assert outcome.wire() == {"formatVersion": 1, "outcome": "Fetched", "digest": digest}
    return start(tmp_path / "into" / "repository", *repository.server_flags([CACHED]))


def test_a_lone_graph_is_asked_with_made_up_inputs(lone: DevelopmentServer) -> None:
    probe = Probe("127.0.0.1", lone.http_port, "net", None)
    assert probe.alive() == (True, "nothing is known yet that it answers")
    probe.verify()
    assert (probe.verified, probe.report().reason, probe.report().samples) == (True, Reason.NOTHING_RECORDED, 0)
    assert probe.alive() == (True, "ok")


def test_a_model_is_known_dead_behind_its_cache(start: Callable[..., DevelopmentServer], tmp_path: Path) -> None:
    python_models.write(tmp_path / "models", "net", convnet(), more="response_cache { enable: true }")
    server = start(tmp_path / "models", *repository.server_flags([CACHED]))
    probe = Probe("127.0.0.1", server.http_port, "net", None)
    probe.verify()
    assert probe.alive() == (True, "ok")
    assert server.process is not None
    (stub,) = (
        each for each in psutil.Process(server.process.pid).children(recursive=True) if "backend_stub" in each.name()
    )
    stub.kill()
    alive, words = probe.alive()
    assert not alive, words


def test_no_two_requests_are_alike_and_each_is_one_that_the_model_takes() -> None:
    images = np.arange(9, dtype=np.uint8).reshape(1, 3, 3)
    floats = np.linspace(0, 1, 3, dtype=np.float32).reshape(1, 3)
    words = np.array([[b"cat"]], object)
    generator = np.random.default_rng(0)
    sent = [fresh({"images": images, "floats": floats, "words": words}, generator) for _ in range(200)]
    assert len({each["words"][0, 0] for each in sent}) == 200
    assert len({each["images"].tobytes() + each["floats"].tobytes() for each in sent}) == 200
    for each in sent:
        assert (each["images"].shape, each["images"].dtype, each["floats"].dtype) == ((1, 3, 3), np.uint8, np.float32)
        assert sorted(each["images"].reshape(-1)) == list(range(9))
        assert (each["floats"].min() >= 0) and (each["floats"].max() <= 1)
