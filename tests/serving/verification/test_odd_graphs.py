"""Graphs that are not image classifiers, on a real server: alive while they answer, verified as far as possible."""

from __future__ import annotations

import json
import re
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.serving import odd_graphs, python_models
from tests.serving.graphs import convnet
from tests.serving.serving import wait_until
from trainserve.api.reasons import Reason
from trainserve.api.triton import DynamicBatching
from trainserve.serving.devserver.server import DevelopmentServer
from trainserve.serving.pod import probe as probes
from trainserve.serving.pod.fetch import Samples, fetch_model
from trainserve.serving.pod.probe import Probe
from trainserve.serving.repository.repository import Entry, write
from trainserve.serving.repository.settings import Settings
from trainserve.serving.samples.recorded import Recorded
from trainserve.serving.sources.source import open_servable
from trainserve.serving.verification import reference
from trainserve.serving.verification.report import Kind
from trainserve.serving.verification.user_samples import BadSamples, Given
from trainserve.serving.verification.verification import verify

GRAPHS = {
    "logarithms": odd_graphs.logarithms(),
    "words": odd_graphs.words(),
    "labels": odd_graphs.labels(),
    "image-and-size": odd_graphs.image_and_size(),
    "size-and-image": odd_graphs.image_and_size(size_first=True),
    "resize": odd_graphs.resize(),
    "reshape": odd_graphs.reshape(),
    "found": odd_graphs.found(),
    "chance": odd_graphs.chance(),
    "company": odd_graphs.company(),
    "lengths": odd_graphs.lengths(),
    "slow": odd_graphs.slow(150),
}
STEADY = [name for name in GRAPHS if name not in ("chance", "company", "reshape", "slow")]


@dataclass(frozen=True)
class Odd:
    """A server of all odd graphs, and the folder of their files."""

    server: DevelopmentServer
    folder: Path

    def probe(self, name: str) -> Probe:
        return Probe("127.0.0.1", self.server.http_port, name, None)

    def pending(self, name: str) -> int:
        """Return the number of requests that wait for an instance."""
        page = urllib.request.urlopen(self.server.metrics_url, timeout=10).read().decode()
        (value,) = re.findall(rf'^nv_inference_pending_request_count{{model="{name}".*}} (.*)$', page, re.MULTILINE)
        return int(float(value))


@pytest.fixture(scope="module")
def odd(command: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Odd]:
    folder = tmp_path_factory.mktemp("odd")
    for name, model in GRAPHS.items():
        onnx.checker.check_model(model)
        onnx.save(model, folder / f"{name}.onnx")
    small = Settings(dynamic_batching=DynamicBatching(max_batch=8))
    entries = [Entry(name, open_servable(str(folder / f"{name}.onnx")), small) for name in GRAPHS]
    write(entries, folder / "models")
    python_models.write(folder / "models", "python", convnet())
    server = DevelopmentServer(command, folder / "models", folder / "log", "--disable-auto-complete-config")
    server.start()
    yield Odd(server, folder)
    server.kill()


@pytest.mark.parametrize("name", GRAPHS)
def test_what_answers_made_up_inputs_is_ready_and_stays_alive(odd: Odd, name: str) -> None:
    probe = odd.probe(name)
    probe.verify()
    assert (probe.verified, probe.reason) == (True, Reason.NOTHING_RECORDED)
    assert [probe.alive() for _ in range(5)] == [(True, "ok")] * 5


def test_an_error_that_was_there_from_the_beginning_is_an_answer_and_another_one_is_none(odd: Odd) -> None:
    probe = odd.probe("reshape")
    probe.verify()
    assert "answers synthetic inputs with an error" in probe.message
    assert "Reshape" in probe.message
    assert probe.alive() == (True, "ok")
    probe.model = "nonesuch"  # as after an unload
    alive, words = probe.alive()
    assert not alive
    assert "unknown model" in words


def test_a_model_that_takes_longer_than_the_shortest_deadline_is_alive(
    odd: Odd, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = odd.probe("slow")
    probe.verify()
    took = (probe.report().p50_ms or 0.0) / 1e3
    monkeypatch.setattr(probes, "TIMEOUT", took / 4)
    for _ in range(2):
        assert probe.alive(took * 4) == (True, "ok")
    alive, words = probe.alive(took / 100)
    assert alive, words


def test_a_model_that_hangs_is_dead_once_its_own_deadline_is_over(odd: Odd, monkeypatch: pytest.MonkeyPatch) -> None:
    probe = odd.probe("slow")
    probe.verify()
    monkeypatch.setattr(probes, "TIMEOUT", 0.01)
    monkeypatch.setattr(probes, "PATIENCE", 0.01)
    alive, words = probe.alive()
    assert not alive
    assert words.startswith("TimeoutError")


def test_who_answers_others_meanwhile_is_busy_and_not_dead(odd: Odd, monkeypatch: pytest.MonkeyPatch) -> None:
    probe, *others = [odd.probe("slow") for _ in range(5)]
    for each in (probe, *others):
        each.verify()
    took = (probe.report().p50_ms or 0.0) / 1e3
    for each in others:  # each sends its request in its own thread
        assert each.alive(0.0)[0]
    wait_until(lambda: odd.pending("slow") >= 2)
    monkeypatch.setattr(probes, "TIMEOUT", took / 10)
    monkeypatch.setattr(probes, "PATIENCE", 1.3)
    assert probe.alive(took * 20) == (True, "busy: it has answered others meanwhile")


def test_a_fault_of_the_probes_own_is_told_and_ends_nobody(odd: Odd, monkeypatch: pytest.MonkeyPatch) -> None:
    probe = odd.probe("found")
    monkeypatch.setattr(probe, "_verify", lambda: dict[str, int]()["nothing"])
    stopped = threading.Event()
    thread = threading.Thread(target=probe.verify_when_due, args=(stopped,))
    thread.start()
    try:
        wait_until(lambda: probe.reason == "ProbeFailed")
        assert thread.is_alive()
        assert "KeyError" in probe.message
        monkeypatch.undo()
        thread.join(30)
        assert (probe.verified, probe.alive()) == (True, (True, "ok"))
    finally:
        stopped.set()


@pytest.mark.parametrize("name", STEADY)
def test_an_honest_server_is_verified(odd: Odd, name: str) -> None:
    model = open_servable(str(odd.folder / f"{name}.onnx"))
    report = verify(odd.server.url, odd.server.grpc_url, model, reference.recorded(model, 4))
    assert report.verified, report.fault
    assert {run.protocol for run in report.runs} == {"http", "grpc"}
    json.dumps(report.as_json())


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("chance", Kind.CHANGING_ANSWERS, "plain onnxruntime's answers are just as changing: by chance"),
        ("words", Kind.TAMPERED_WEIGHTS, "worst: sample 0, output german, expected ['Hund'], got ['?']"),
    ],
)
def test_what_cannot_be_right_is_called_by_its_name(odd: Odd, name: str, kind: Kind, words: str) -> None:
    model = open_servable(str(odd.folder / f"{name}.onnx"))
    recorded = reference.recorded(model, 4)
    if "german" in recorded.outputs:
        recorded.outputs["german"][:] = "Hund"
    report = verify(odd.server.url, None, model, recorded)
    assert report.fault is not None
    assert report.fault.kind == kind
    assert words in "\n".join(report.fault.evidence)


def test_answers_that_depend_on_company_are_not_called_changed_weights(odd: Odd) -> None:
    path = odd.folder / "company.onnx"
    inputs = {"x": np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32)}
    rows = Recorded(inputs, {"y": np.zeros((8, 4))}, 1e-3, 1e-5)
    answers = [reference.Reference(path, rows).answers(inputs, alone=alone) for alone in (True, False)]
    alone, together = (
        verify(odd.server.url, None, open_servable(str(path)), replace(rows, outputs=each)) for each in answers
    )
    assert alone.verified or alone.fault.kind == Kind.MIXED_BATCHES, alone.fault
    assert (together.verified, together.fault.kind) == (False, Kind.MIXED_BATCHES)
    assert "computed in company" in together.fault.message


def test_given_inputs_are_held_against_the_given_answers_or_onnxruntimes(odd: Odd, tmp_path: Path) -> None:
    image, size = np.full((1, 3, 4, 4), 2.0, np.float32), np.array([3.0, 5.0])
    model = open_servable(str(odd.folder / "image-and-size.onnx"))

    def probed(**arrays: Any) -> Probe:
        np.savez(tmp_path / "given.npz", **arrays)
        probe = Probe("127.0.0.1", odd.server.http_port, "image-and-size", Given.load(tmp_path / "given.npz", model))
        probe.verify()
        return probe

    own = probed(image=image, size=size)
    assert (own.verified, own.reason) == (True, "SamplesMatch")
    assert own.message.startswith("1 sample, ")
    assert "onnxruntime's own answers to the given inputs" in own.message
    right = probed(image=image, size=size, scaled=np.array([6.0, 10.0]))
    assert (right.verified, right.message) == (True, "1 sample, max abs difference 0")
    wrong = probed(
        image=np.stack([image] * 3), size=np.stack([size] * 3), scaled=np.array([[6.0, 10.0]] * 2 + [[1, 2]])
    )
    assert (wrong.verified, wrong.reason) == (False, "OutputMismatch")
    assert "worst: sample 2, output scaled, expected [1, 2], got [6, 10]" in wrong.message


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"image": np.zeros((1, 3, 4, 4), np.float32)}, "no array for input size; there: image"),
        ({"image": np.zeros((3, 4, 4)), "size": np.zeros(2)}, r"image: shape \[3, 4, 4\] does not fit \[1, 3, 4, 4\]"),
        ({"image": np.zeros((1, 3, 4, 4)), "size": np.array(["a", "b"])}, "size: <U1 instead of float32"),
        (
            {"image": np.zeros((2, 1, 3, 4, 4)), "size": np.zeros((3, 2))},
            "as many samples of each are needed, at least 1; found: image 2, size 3",
        ),
        (
            {"image": np.zeros((1, 3, 4, 4)), "size": np.zeros(2), "x": np.zeros(1)},
            "x: no input or output; the graph has image, size, scaled",
        ),
    ],
)
def test_given_samples_that_are_none_are_refused_by_the_arrays_name(
    odd: Odd, tmp_path: Path, arrays: dict[str, Any], words: str
) -> None:
    np.savez(tmp_path / "given.npz", **arrays)
    with pytest.raises(BadSamples, match=words):
        Given.load(tmp_path / "given.npz", open_servable(str(odd.folder / "image-and-size.onnx")))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY\x01\x00", b"{}"])
def test_a_file_that_is_no_npz_is_refused(odd: Odd, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "given.npz").write_bytes(content)
    with pytest.raises(BadSamples, match=r"given\.npz: not an \.npz"):
        Given.load(tmp_path / "given.npz", open_servable(str(odd.folder / "found.onnx")))


def test_what_an_init_container_fetched_is_what_a_pods_probe_asks(odd: Odd, tmp_path: Path) -> None:
    path = odd.folder / "image-and-size.onnx"
    np.savez(tmp_path / "real.npz", image=np.ones((2, 1, 3, 4, 4)), size=np.ones((2, 2)), scaled=np.ones((2, 2)))
    samples = Samples(str(tmp_path / "real.npz"), f"sha256:{sha256((tmp_path / 'real.npz').read_bytes()).hexdigest()}")
    digest = open_servable(str(path)).digest

    def fetched(into: str, given: Samples) -> dict[str, object]:
        return fetch_model(str(path), digest, tmp_path / into, "image-and-size", Settings(), samples=given).wire()

    assert fetched("pod", samples) == {"formatVersion": 1, "outcome": "Fetched", "digest": digest}
    probe = Probe("127.0.0.1", odd.server.http_port, "image-and-size", Given.left(tmp_path / "pod/given.npz"))
    probe.verify()
    assert (probe.reason, probe.message) == ("SamplesMatch", "2 samples, max abs difference 0")
    wrong = fetched("other", Samples(samples.address, f"sha256:{64 * '0'}"))
    assert (wrong["outcome"], wrong["reason"]) == ("Failed", "DigestMismatch")
    absent = fetched("absent", Samples(str(tmp_path / "nonesuch.npz")))
    assert (absent["outcome"], absent["reason"]) == ("Failed", "InvalidSamples")
    np.savez(tmp_path / "few.npz", image=np.ones((1, 3, 4, 4)))
    assert "no array for input size" in str(fetched("few", Samples(str(tmp_path / "few.npz")))["message"])


def test_where_nobody_says_what_is_right_given_inputs_must_be_answered(odd: Odd, tmp_path: Path) -> None:
    model = open_servable(str(odd.folder / "words.onnx"))
    np.savez(tmp_path / "given.npz", word=np.array([["cat"], ["dog"], ["gnu"]]))
    Given.leave(tmp_path / "given.npz", model)
    probe = Probe("127.0.0.1", odd.server.http_port, "words", Given.left(tmp_path / "given.npz"))
    probe.verify()
    assert (probe.verified, probe.reason) == (True, Reason.NOTHING_RECORDED)
    assert probe.message == "the 3 given inputs are answered; the right outputs are unknown"
    np.savez(tmp_path / "given.npz", word=np.array([["cat"], ["dog"]]), number=np.array([[1], [2]]))
    probe = Probe("127.0.0.1", odd.server.http_port, "words", Given.load(tmp_path / "given.npz", model))
    probe.verify()
    assert (probe.reason, probe.message) == ("SamplesMatch", "2 samples, max abs difference 0")
    assert probe.alive() == (True, "ok")


def test_samples_that_claim_more_than_is_allowed_are_refused_before_they_are_read(
    odd: Odd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez_compressed(tmp_path / "zeros.npz", word=np.zeros((400, 1)))
    monkeypatch.setenv("TRAINSERVE_LIMITS", '{"samples": "2Ki"}')
    with pytest.raises(BadSamples, match=r"its arrays take .* MiB; at most 0\.00195 MiB are allowed"):
        Given.load(tmp_path / "zeros.npz", open_servable(str(odd.folder / "words.onnx")))
