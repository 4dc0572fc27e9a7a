"""Every variant of an exported file, from PyTorch through the store to the server, verified with its own samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.models.exporting import dataset, learnt, published, regression
from tests.serving.versions import fetch
from trainserve.api.triton import DynamicBatching
from trainserve.models import onnx_file
from trainserve.models.data.dataset import Dataset
from trainserve.serving.devserver.server import DevelopmentServer
from trainserve.serving.pod.probe import Probe
from trainserve.serving.repository.settings import Settings
from trainserve.serving.samples.recorded import Recorded
from trainserve.serving.sources.servable import Servable
from trainserve.serving.verification.reference import Reference
from trainserve.serving.verification.verification import verify

VARIANTS: dict[str, dict[str, Any]] = {
    "topk": {"topK": 3},
    "fp16": {"precision": "fp16", "topK": 2},
    "int8": {"precision": "int8", "topK": 2},
    "tensor": {"input": "tensor"},
    "values": {},
    "beside": {},
}


def network(data: Dataset) -> nn.Module:
    torch.manual_seed(0)
    outputs = len(data.labels)
    return learnt(data, nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, outputs)), steps=40)


@pytest.fixture(scope="module")
def fetched(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The init container's output for each variant; `beside` has its weights in a separate file."""
    root = tmp_path_factory.mktemp("store")
    classes, values = dataset(), regression()
    body, regressor = network(classes), network(values)
    folders = {}
    for name, export in VARIANTS.items():
        data, trained = (values, regressor) if name == "values" else (classes, body)
        with pytest.MonkeyPatch.context() as patched:
            if name == "beside":
                patched.setattr(onnx_file, "INLINE_LIMIT", 1000)
            version = published(data, trained, root, tmp_path_factory.mktemp(name), name, **export)
        folders[name] = tmp_path_factory.mktemp("fetched")
        settings = Settings(dynamic_batching=DynamicBatching(max_batch=16))
        outcome = fetch(root, name, 1, version.digest, folders[name], settings)
        assert outcome.outcome == "Fetched", outcome
    return folders


@pytest.fixture(scope="module")
def server(
    command: Path, fetched: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DevelopmentServer]:
    """One server of all variants."""
    models = tmp_path_factory.mktemp("models")
    for name, folder in fetched.items():
        (folder / "repository" / name).rename(models / name)
    log = tmp_path_factory.mktemp("server") / "log"
    with DevelopmentServer(command, models, log, "--disable-auto-complete-config") as running:
        yield running


@pytest.fixture
def probe(server: DevelopmentServer, fetched: dict[str, Path]) -> Callable[[str], Probe]:
    def of(name: str) -> Probe:
        return Probe("127.0.0.1", server.http_port, name, Recorded.load(fetched[name] / "version", 64))

    return of


@pytest.mark.parametrize("name", VARIANTS)
def test_it_is_served_as_pytorch_answered(probe: Callable[[str], Probe], name: str) -> None:
    verified = probe(name)
    verified.verify()
    assert verified.verified, verified.message
    assert verified.recorded is not None and len(verified.recorded) == 64
    assert verified.max_abs is not None
    assert verified.max_abs < {"fp16": 0.01, "int8": 0.1}.get(name, 1e-4)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_kind_is_verified_in_full_over_both_protocols(
    server: DevelopmentServer, fetched: dict[str, Path], name: str
) -> None:
    version = fetched[name] / "version"
    servable, recorded = Servable.of_version(version), Recorded.load(version, 64)
    report = verify(server.url, server.grpc_url, servable, recorded, model=name)
    assert report.verified, report.fault
    assert {(run.protocol, run.batch) for run in report.runs} == {("http", 1), ("http", 16), ("grpc", 1), ("grpc", 16)}
    assert report.served_digest == servable.digest
    assert (report.labels.same is None) == (name == "values")


@pytest.mark.parametrize("name", ["fp16", "int8"])
def test_a_wider_tolerance_still_tells_one_model_from_another(probe: Callable[[str], Probe], name: str) -> None:
    other = probe(name)
    rolled = np.roll(other.recorded.outputs["probabilities"], 1, axis=1)
    assert other.recorded is not None
    other.recorded = replace(other.recorded, outputs={**other.recorded.outputs, "probabilities": rolled})
    other.verify()
    assert other.verified is False
    assert other.reason == "OutputMismatch"


def test_top_labels_are_served_as_whole_numbers(probe: Callable[[str], Probe]) -> None:
    outputs = probe("topk").recorded.outputs
    assert outputs["top_labels"].dtype == np.int64
    assert outputs["top_labels"].shape == outputs["top_probabilities"].shape == (64, 3)
    assert probe("topk").recorded.indexes == {"top_labels": "probabilities"}


def test_weights_beside_the_file_are_fetched_with_it(fetched: dict[str, Path]) -> None:
    assert (fetched["beside"] / "version" / "model.onnx.data").stat().st_size > 288 * 5 * 4


@pytest.mark.parametrize("name", ["topk", "tensor", "values"])
def test_an_exported_graph_can_be_run_on_images_between_two_integers(fetched: dict[str, Path], name: str) -> None:
    recorded = Recorded.load(fetched[name] / "version", 16)
    network = Reference(fetched[name] / "version" / "model.onnx", recorded).of_floats()
    output = "values" if name == "values" else "probabilities"
    np.testing.assert_allclose(network(recorded.inputs)[output], recorded.outputs[output], rtol=1e-3, atol=1e-5)
    between = {key: array + np.float32(0.5) for key, array in recorded.inputs.items()}
    assert np.abs(network(between)[output] - recorded.outputs[output]).max() > 0
