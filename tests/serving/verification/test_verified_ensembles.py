"""Verification of the ensemble around a correct model on a running server: labels and scores equal the recorded ones.

Ensembles that do not load: test_verification.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from tests.serving import faulty
from trainserve.api.triton import Ensemble
from trainserve.serving.devserver.server import DevelopmentServer
from trainserve.serving.pod.probe import Probe
from trainserve.serving.protocol.infer import InferenceError
from trainserve.serving.repository import ensemble
from trainserve.serving.samples.ensemble_samples import around
from trainserve.serving.samples.recorded import Recorded
from trainserve.serving.sources.servable import Servable
from trainserve.serving.verification.reference import Reference
from trainserve.serving.verification.report import Kind, Report
from trainserve.serving.verification.verification import verify
from trainserve.store import Preprocessing

OTHER = Preprocessing(scale=1 / 255, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225], by="client")


FEW = 6
"""Number of samples; at least two classes are the best of none of them."""


def best(recorded: Recorded) -> list[int]:
    """Return the likeliest class of each sample."""
    return [int(each) for each in recorded.outputs["probabilities"].argmax(axis=1)]


@dataclass(frozen=True)
class Ensembles:
    """A server of one model under many names, each with an ensemble; `bare` leaves preprocessing to the ensemble."""

    server: DevelopmentServer
    version: tuple[Servable, Recorded]
    bare: tuple[Servable, Recorded]

    def verify(self, name: str, grpc: bool = False) -> Report:
        servable, recorded = self.bare if name.startswith("bare") else self.version
        return verify(self.server.url, self.server.grpc_url if grpc else None, servable, recorded, model=name)

    def probe(self, name: str, samples: int = 64) -> Probe:
        """Return a probe, as in a pod, that has verified the model and the ensemble around it."""
        servable, recorded = self.bare if name.startswith("bare") else self.version
        if samples < len(recorded):
            recorded = Recorded.load(servable.folder, samples)
        probe = Probe("127.0.0.1", self.server.http_port, name, recorded, around(name, servable, recorded))
        probe.verify()
        return probe

    def recorded(self, sample: int) -> np.ndarray:
        """Return the version's recorded probabilities (8,) for a sample."""
        return self.version[1].outputs["probabilities"][sample]


@pytest.fixture(scope="module")
def ensembles(command: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ensembles]:
    work, repository = tmp_path_factory.mktemp("ensembles"), tmp_path_factory.mktemp("repository")
    faulty.publish_network(work / "store", work / "1", faulty.network())
    folder = work / "store/default/animals/1"
    version, bare = Servable.of_version(folder), faulty.bare(faulty.network(), work / "bare")
    (gives,), (takes,) = version.outputs, bare[0].inputs
    one, three = Ensemble(), Ensemble(top=3)
    swapped, few = [*faulty.LABELS[4:], *faulty.LABELS[:4]], faulty.LABELS[:3]
    first, second = sorted(set(range(8)) - set(best(Recorded.load(folder, FEW))))[:2]
    unseen = list(faulty.LABELS)
    unseen[first], unseen[second] = unseen[second], unseen[first]
    for name, model, wanted, graphs in (
        ("right", version, three, {}),
        ("right-1", version, one, {}),
        ("misnamed", version, three, {"labels": ensemble.labels("step", gives, swapped, three).graph}),
        ("misnamed-1", version, one, {"labels": ensemble.labels("step", gives, swapped, one).graph}),
        ("unseen", version, one, {"labels": ensemble.labels("step", gives, unseen, one).graph}),
        ("nameless", version, three, {"labels": ensemble.labels("step", gives, few, three).graph}),
        ("softened", version, Ensemble(top=3, softmax=True), {}),
        ("half-loaded", version, three, {"labels": b"no graph"}),
        ("bare", bare[0], three, {}),
        ("bare-softmax", bare[0], Ensemble(top=3, softmax=True), {}),
        ("bare-logits", replace(bare[0], labels=()), one, {}),
        ("bare-imagenet", bare[0], three, {"preprocessing": ensemble.preprocessing("step", takes, OTHER).graph}),
    ):
        faulty.place_around(repository, work / "around" / name, name, model, wanted, **graphs)
    flags = ("--disable-auto-complete-config", "--exit-on-error=false", "--strict-readiness=false")
    server = DevelopmentServer(command, repository, work / "log", *flags)
    server.start()
    yield Ensembles(server, (version, Recorded.load(folder, 64)), bare)
    server.kill()  # a clean stop takes seconds and has a test of its own


def words(report: Report) -> str:
    assert report.fault is not None, report
    return "\n".join([report.fault.message, *report.fault.evidence])


@pytest.mark.parametrize("model", ["right", "right-1"])
def test_the_ensemble_around_a_model_is_verified_over_both_protocols_alone_and_in_batches(
    ensembles: Ensembles, model: str
) -> None:
    report = ensembles.verify(model, grpc=True)
    assert report.verified, words(report)
    runs = report.ensemble_runs
    assert [(run.protocol, run.batch) for run in runs] == [("http", 1), ("http", 16), ("grpc", 1), ("grpc", 16)]
    assert all(run.matches and run.worst.output == "scores" for run in runs)
    ensemble_note, labels_note = report.notes[-2:]
    assert ensemble_note.startswith(f"{model}-ensemble gives what was recorded, too: 64 samples, max abs difference")
    assert labels_note == f"{model}-labels gives each of the 8 classes its own label"


@pytest.mark.parametrize("model", ["bare", "bare-softmax"])
def test_an_ensemble_is_sent_the_images_that_its_models_recorded_planes_were_made_of(
    ensembles: Ensembles, model: str
) -> None:
    report = ensembles.verify(model)
    assert report.verified, words(report)
    assert [run.matches for run in report.ensemble_runs] == [True, True]


def test_an_ensemble_without_labels_gives_the_models_own_outputs(ensembles: Ensembles) -> None:
    servable, recorded = ensembles.bare
    report = verify(ensembles.server.url, None, replace(servable, labels=()), recorded, model="bare-logits")
    assert report.verified, words(report)
    assert [(run.matches, run.worst.output) for run in report.ensemble_runs] == [(True, "logits")] * 2


@pytest.mark.parametrize("model", ["misnamed", "misnamed-1"])
def test_an_ensemble_whose_labels_graph_is_swapped_is_found_while_the_model_is_right(
    ensembles: Ensembles, model: str
) -> None:
    report = ensembles.verify(model, grpc=True)
    assert all(run.matches for run in report.runs)
    assert report.labels.matches
    assert (report.verified, report.fault.kind) == (False, Kind.SWAPPED_LABELS)
    assert f"{model}-ensemble gives the right scores under other labels" in words(report)
    assert not any(run.matches for run in report.ensemble_runs)
    for worst in (run.worst for run in report.ensemble_runs):
        recorded = ensembles.recorded(worst.sample)
        right = [faulty.LABELS[position] for position in np.argsort(-recorded)[: len(worst.got)]]
        assert (worst.output, worst.expected) == ("labels", right)
        assert worst.got == [faulty.LABELS[(faulty.LABELS.index(label) + 4) % 8] for label in right]
    assert report.as_json()["ensembleRuns"][0]["worst"]["difference"] is None
    shown = report.ensemble_runs[0].worst
    assert f"sample {shown.sample}, output labels, expected {shown.expected}, got {shown.got}" in words(report)


def test_labels_that_no_sample_brings_among_the_best_are_verified_too(ensembles: Ensembles) -> None:
    servable, _ = ensembles.version
    report = verify(ensembles.server.url, None, servable, Recorded.load(servable.folder, FEW), model="unseen")
    assert all(run.matches for run in (*report.runs, *report.ensemble_runs))
    assert (report.verified, report.fault.kind) == (False, Kind.SWAPPED_LABELS)
    assert "unseen-labels gives the right scores under other labels" in words(report)

    probe = ensembles.probe("unseen", FEW)
    assert (probe.verified, probe.reason) == (False, "OutputMismatch")
    assert probe.message.startswith("unseen-labels: ")
    assert "but not under these labels" in probe.message


def test_an_ensemble_that_applies_softmax_twice_is_found_by_its_scores(ensembles: Ensembles) -> None:
    report = ensembles.verify("softened")
    assert all(run.matches for run in report.runs)
    assert (report.verified, report.fault.kind) == (False, Kind.WRONG_ENSEMBLE)
    assert "softened-ensemble does not give what the model in it gives" in words(report)
    worst = report.as_json()["ensembleRuns"][0]["worst"]
    recorded = ensembles.recorded(worst["sample"])
    powers = np.exp(np.sort(recorded)[::-1])
    assert worst["output"] == "scores"
    assert worst["expected"] == pytest.approx(np.sort(recorded)[:-4:-1].tolist())
    assert worst["got"] == pytest.approx((powers[:3] / powers.sum()).tolist())
    assert f"worst: sample {worst['sample']}, output scores, expected [" in words(report)


def test_an_ensemble_that_normalises_otherwise_than_the_manifest_says_is_found(ensembles: Ensembles) -> None:
    report = ensembles.verify("bare-imagenet")
    assert all(run.matches for run in report.runs)
    assert (report.verified, report.fault.kind) == (False, Kind.WRONG_ENSEMBLE)
    assert "output scores" in words(report)


def test_an_ensemble_whose_labels_graph_cannot_be_loaded_leaves_the_right_model_unverified(
    ensembles: Ensembles,
) -> None:
    report = ensembles.verify("half-loaded")
    assert all(run.matches for run in report.runs)
    assert (report.verified, report.fault.kind, report.ensemble_runs) == (False, Kind.HALF_LOADED_ENSEMBLE, [])
    assert "half-loaded-labels: " in words(report)


def test_an_ensemble_around_a_right_model_that_does_not_answer_names_its_steps(ensembles: Ensembles) -> None:
    report = ensembles.verify("nameless")
    assert all(run.matches for run in report.runs)
    assert (report.verified, report.fault.kind) == (False, Kind.HALF_LOADED_ENSEMBLE)
    assert "nameless-labels" in words(report)
    assert "out of data bounds" in words(report)


def test_an_ensemble_is_not_asked_where_the_recorded_inputs_are_of_no_images(ensembles: Ensembles) -> None:
    servable, recorded = ensembles.bare
    noise = np.array(np.random.default_rng(0).standard_normal(recorded.inputs["planes"].shape), np.float32)
    made_up = replace(recorded, inputs={"planes": noise})
    answers = Reference(servable.folder / "model.onnx", made_up).answers(made_up.inputs)
    report = verify(ensembles.server.url, None, servable, replace(made_up, outputs=answers), model="bare")
    assert report.verified, words(report)
    assert "bare-ensemble was not asked: " in report.notes[-1]


@pytest.mark.parametrize("model", ["right", "right-1", "bare", "bare-softmax"])
def test_a_probe_says_that_the_ensemble_is_right_too(ensembles: Ensembles, model: str) -> None:
    probe = ensembles.probe(model)
    assert (probe.verified, probe.reason) == (True, "SamplesMatch"), probe.message
    assert probe.message.endswith(f"; {model}-ensemble is right, too; {model}-labels is right, too")
    assert probe.alive() == (True, "ok")


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("misnamed", "but not under these labels"),
        ("softened", "max abs difference"),
        ("bare-imagenet", "max abs difference"),
    ],
)
def test_a_probe_holds_back_a_pod_whose_ensemble_is_wrong_while_the_model_is_right(
    ensembles: Ensembles, model: str, words: str
) -> None:
    probe = ensembles.probe(model)
    assert (probe.verified, probe.reason) == (False, "OutputMismatch")
    assert probe.message.startswith(f"{model}-ensemble: ")
    assert words in probe.message


@pytest.mark.parametrize("model", ["half-loaded", "nameless"])
def test_a_probe_goes_on_trying_while_the_ensemble_does_not_answer(ensembles: Ensembles, model: str) -> None:
    with pytest.raises(InferenceError, match=f"{model}-ensemble"):
        ensembles.probe(model)
