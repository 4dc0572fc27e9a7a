"""Verification of a running server: correct models pass, and every real fault is detected and named correctly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.serving import faulty
from trainserve.serving.devserver.server import DevelopmentServer
from trainserve.serving.samples.recorded import Recorded
from trainserve.serving.sources import address
from trainserve.serving.sources.servable import Servable
from trainserve.serving.verification import other_versions
from trainserve.serving.verification.report import Kind, Report
from trainserve.serving.verification.verification import verify
from trainserve.store import Published

IMAGENET: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


NAMELESS = ["ant", "", "cat", " ", *faulty.LABELS[4:]]
"""Two classes have no name."""


@dataclass(frozen=True)
class Faults:
    """A server of one correct model and many faulty ones, and the version that all of them should match."""

    server: DevelopmentServer
    version: Path
    other: Published

    def verify(self, model: str, grpc: bool = False) -> Report:
        others = other_versions.others(address.parse(str(self.version)), 64)
        return verify(
            self.server.url,
            self.server.grpc_url if grpc else None,
            Servable.of_version(self.version),
            Recorded.load(self.version, 64),
            model=model,
            others=others,
        )


@pytest.fixture(scope="module")
def faults(command: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faults]:
    work, repository = tmp_path_factory.mktemp("faults"), tmp_path_factory.mktemp("repository")
    right = faulty.network()
    published = faulty.publish_network(work / "store", work / "1", right)
    other = faulty.publish_network(work / "store", work / "2", faulty.network(seed=1))
    content = right.SerializeToString()
    graphs = {
        "right": content,
        "another-version": faulty.network(seed=1).SerializeToString(),
        "other-normalisation": faulty.network(**IMAGENET).SerializeToString(),
        "unscaled": faulty.network(mean=(0, 0, 0), std=(1 / 255,) * 3).SerializeToString(),
        "reversed-channels": faulty.reversed_channels(right).SerializeToString(),
        "fp16": faulty.half(right).SerializeToString(),
        "int8": faulty.quantised(right, work).SerializeToString(),
        "tampered-tensor": faulty.altered(right, "dense1", lambda weights: -weights).SerializeToString(),
        "tampered-byte": faulty.flipped(content, right, "dense2"),
        "mixing": faulty.mixing(right).SerializeToString(),
        "failing": faulty.failing(right).SerializeToString(),
        "cut": content[: len(content) // 2],
    }
    for name, graph in graphs.items():
        faulty.place(repository, name, graph)
    faulty.place(repository, "swapped-labels", content, labels=[*faulty.LABELS[:5], "gnu", "fox", "hen"])
    faulty.place(repository, "no-labels", content, labels=[])
    faulty.place(repository, "nameless-class", content, labels=[label.strip() for label in NAMELESS])
    faulty.place(repository, "claims-another", content, digest=other.digest)
    faulty.place(repository, "claims-right", content, digest=published.digest)
    faulty.place_ensemble(repository, "ensemble", "right")
    faulty.place_ensemble(repository, "half-loaded", "right", "cut")
    faulty.place_ensemble(repository, "step-fails", "failing")
    faulty.place(repository, "lonely", content)
    faulty.place_ensemble(repository, "lonely-ensemble", "lonely", "cut")
    log = work / "log"
    flags = ("--disable-auto-complete-config", "--exit-on-error=false", "--strict-readiness=false")
    server = DevelopmentServer(command, repository, log, *flags)
    server.start()
    yield Faults(server, work / "store/default/animals/1", other)
    server.kill()  # a clean stop takes seconds and has a test of its own


def words(report: Report) -> str:
    assert report.fault is not None, report
    return "\n".join([report.fault.message, *report.fault.evidence])


@pytest.mark.parametrize("model", ["right", "claims-right", "ensemble"])
def test_a_right_server_is_verified_over_both_protocols_alone_in_batches_and_concurrently(
    faults: Faults, model: str
) -> None:
    report = faults.verify(model, grpc=True)
    assert report.verified, words(report)
    assert [(run.protocol, run.batch, run.concurrency) for run in report.runs] == [
        *(("http", 1, 1), ("http", 16, 1), ("http", 1, 8)),
        *(("grpc", 1, 1), ("grpc", 16, 1), ("grpc", 1, 8)),
    ]
    assert all(
        run.matches and run.requests >= 4 and run.p50_ms and run.p99_ms and 0 < run.p50_ms <= run.p99_ms
        for run in report.runs
    )
    assert (report.labels.matches, report.labels.same, report.labels.served_accuracy) == (True, 64, 1.0)


def test_a_class_without_a_name_has_its_number_for_one(faults: Faults) -> None:
    servable, recorded = Servable.of_version(faults.version), Recorded.load(faults.version, 64)
    named = replace(servable, labels=tuple(NAMELESS))
    report = verify(faults.server.url, None, named, recorded, model="nameless-class")
    assert report.verified, words(report)
    assert (report.labels.matches, report.labels.classes) == (True, 8)
    other = verify(faults.server.url, None, servable, recorded, model="nameless-class")
    assert [(wrong.index, wrong.expected, wrong.got) for wrong in other.labels.wrong] == [
        (1, "bee", "1"),
        (3, "dog", "3"),
    ]


def test_the_report_is_plain_json_that_names_the_worst_sample(faults: Faults) -> None:
    found = faults.verify("other-normalisation").as_json()
    recorded = Recorded.load(faults.version, 64).outputs["probabilities"]
    worst = found["worst"]
    assert worst["output"] == "probabilities"
    assert worst["expected"] == pytest.approx(recorded[worst["sample"]].tolist())
    differences = np.abs(np.array(worst["got"]) - worst["expected"])
    assert worst["difference"] == pytest.approx(differences.max())
    assert worst["position"] == differences.argmax()
    assert found["runs"][0]["worst"]["sample"] == worst["sample"]
    assert found["fault"]["kind"] == "WrongNormalisation"
    assert found["verified"] is False


def test_another_version_is_recognised_by_its_own_samples(faults: Faults) -> None:
    report = faults.verify("another-version")
    assert report.fault.kind == Kind.WRONG_VERSION
    assert "the server serves version 2 under this name" in words(report)
    assert "answers the samples recorded with version 2 as it should" in words(report)


def test_a_server_that_was_set_up_from_another_version_is_not_verified_though_it_answers_alike(faults: Faults) -> None:
    report = faults.verify("claims-another")
    assert all(run.matches for run in report.runs)
    assert (report.verified, report.fault.kind) == (False, Kind.WRONG_VERSION)
    assert "version 2" in report.fault.message
    assert faults.other.digest in words(report)


def test_another_model_is_recognised_by_its_tensors(faults: Faults, fetched: Path) -> None:
    report = verify(
        faults.server.url,
        None,
        Servable.of_version(fetched / "version"),
        Recorded.load(fetched / "version", 8),
        model="right",
    )
    assert report.fault.kind == Kind.WRONG_VERSION
    assert "input images is UINT8 [-1, 16, 16, 3] instead of UINT8 [-1, 28, 28, 1]" in words(report)


def test_labels_in_another_order_are_named_while_the_outputs_match(faults: Faults) -> None:
    report = faults.verify("swapped-labels")
    assert all(run.matches for run in report.runs)
    assert report.fault.kind == Kind.SWAPPED_LABELS
    assert "the labels are in another order: 2 of 8 classes are misnamed" in words(report)
    assert "class 5 is 'gnu' instead of 'fox'" in words(report)


def test_missing_labels_are_noticed(faults: Faults) -> None:
    report = faults.verify("no-labels")
    assert report.fault.kind == Kind.SWAPPED_LABELS
    assert "class 0 is '0' instead of 'ant'" in words(report)


def test_another_mean_and_std_are_found_out(faults: Faults) -> None:
    report = faults.verify("other-normalisation")
    assert report.fault.kind == Kind.WRONG_NORMALISATION
    assert "mean [0.485, 0.456, 0.406] and std [0.229, 0.224, 0.225] at scale 0.003922" in words(report)
    assert "the version has mean [0.49, 0.48, 0.45]" in words(report)


@pytest.mark.parametrize(
    ("model", "what"), [("unscaled", "mean [0, 0, 0] and std [0.0039"), ("reversed-channels", "red and blue exchanged")]
)
def test_other_ways_to_see_an_image_wrongly_are_normalisation_too(faults: Faults, model: str, what: str) -> None:
    report = faults.verify(model)
    assert report.fault.kind == Kind.WRONG_NORMALISATION, words(report)
    assert what in words(report)


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_fewer_bits_than_the_tolerance_was_made_for_are_called_drift(faults: Faults, precision: str) -> None:
    report = faults.verify(precision)
    assert report.fault.kind == Kind.PRECISION_DRIFT, words(report)
    assert f"computes in {precision}, and the tolerance was made for fp32" in words(report)


@pytest.mark.parametrize("model", ["tampered-tensor", "tampered-byte"])
def test_weights_that_were_changed_on_disk_are_what_is_left_when_nothing_gentler_explains_it(
    faults: Faults, model: str
) -> None:
    report = faults.verify(model)
    assert report.fault.kind == Kind.TAMPERED_WEIGHTS, words(report)
    assert "no other version, normalisation or rounding explains it" in words(report)
    assert "worst: sample" in words(report)
    assert ("all differences have one direction" in words(report)) == (model == "tampered-byte")


def test_a_half_loaded_ensemble_names_the_step_that_is_missing(faults: Faults) -> None:
    report = faults.verify("half-loaded")
    assert (report.verified, report.runs) == (False, [])
    assert report.fault.kind == Kind.HALF_LOADED_ENSEMBLE
    assert "cut: " in words(report)
    assert "Protobuf parsing failed" in words(report)


def test_a_model_that_is_right_in_an_ensemble_that_is_half_loaded_is_not_verified(faults: Faults) -> None:
    report = faults.verify("lonely")
    assert all(run.matches for run in report.runs)
    assert (report.verified, report.fault.kind) == (False, Kind.HALF_LOADED_ENSEMBLE)
    assert "lonely-ensemble is not loaded" in words(report)
    assert "cut: " in words(report)


def test_an_ensemble_whose_step_fails_names_it(faults: Faults) -> None:
    report = faults.verify("step-fails")
    assert report.fault.kind == Kind.HALF_LOADED_ENSEMBLE
    assert "failing" in report.fault.message


def test_a_graph_that_mixes_the_rows_of_a_batch_is_right_alone_and_found_in_company(faults: Faults) -> None:
    report = faults.verify("mixing")
    assert report.fault.kind == Kind.MIXED_BATCHES, words(report)
    assert "http batch 16 x 1" in words(report)
    assert report.runs[0].matches


def test_a_model_that_is_ready_and_fails_is_told_in_the_servers_words(faults: Faults) -> None:
    report = faults.verify("failing")
    assert report.fault.kind == Kind.INFERENCE_FAILED
    assert "onnxruntime" in words(report)


@pytest.mark.parametrize(
    ("model", "what"), [("cut", "Protobuf parsing failed"), ("unheard-of", "it has no such model; ready: ")]
)
def test_a_model_that_is_not_there_is_told_with_the_reason(faults: Faults, model: str, what: str) -> None:
    report = faults.verify(model)
    assert report.fault.kind == Kind.NOT_SERVED
    assert what in words(report)


def test_a_server_that_keeps_its_index_to_itself_is_verified_all_the_same(
    start: Callable[..., DevelopmentServer], fetched: Path
) -> None:
    server = start(None, "--http-restricted-api=model-repository:key=secret")
    version = fetched / "version"
    report = verify(server.url, None, Servable.of_version(version), Recorded.load(version, 8))
    assert report.verified, words(report)


def test_no_server_is_a_report_too(faults: Faults) -> None:
    version = faults.version
    report = verify("127.0.0.1:1", None, Servable.of_version(version), Recorded.load(version, 8))
    assert (report.verified, report.fault.kind) == (False, Kind.NOT_SERVED)
    assert "127.0.0.1:1" in words(report)


def test_a_grpc_address_where_nobody_is_fails_the_verification(faults: Faults) -> None:
    version = faults.version
    report = verify(
        faults.server.url, "127.0.0.1:1", Servable.of_version(version), Recorded.load(version, 8), model="right"
    )
    assert report.fault.kind == Kind.INFERENCE_FAILED
    assert "grpc" in words(report)


def test_recorded_outputs_that_the_versions_own_graph_does_not_give_are_the_versions_fault(faults: Faults) -> None:
    recorded = Recorded.load(faults.version, 64)
    recorded.outputs["probabilities"][17] += 0.01
    report = verify(
        faults.server.url, faults.server.grpc_url, Servable.of_version(faults.version), recorded, model="right"
    )
    assert report.fault.kind == Kind.VERSION_AT_FAULT, words(report)
    assert report.worst.sample == 17
