"""The definitions on a real API server: it accepts them, fills in defaults, refuses objects and prints columns."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings

from tests.api.specs import WHOLE_SPECS, specs
from trainserve.api import API_VERSION, GROUP
from trainserve.api.modelserve import ModelServeSpec
from trainserve.api.modelserve_status import ModelServeStatus, Replicas
from trainserve.api.reported import Progress, Result
from trainserve.api.trainjob import TrainJobSpec
from trainserve.api.trainjob_status import TrainJobStatus
from trainserve.dev import binaries
from trainserve.dev.kube import ApiError, Client
from trainserve.operator.specs import parse_modelserve, parse_trainjob

pytestmark = pytest.mark.cluster

ZOO = {"model": {"name": "convnet"}, "dataset": {"name": "digits"}, "output": {"model": "digits"}}
EXAMPLES = Path(__file__).parents[2] / "examples"

Kubectl = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def client(kubeconfig: Path) -> Iterator[Client]:
    """A client in a namespace of this module."""
    name = f"api-{os.getpid()}"
    with Client(kubeconfig, name) as client:
        client.create("Namespace", {"metadata": {"name": name}})
        yield client
        client.delete("Namespace", name)


@pytest.fixture
def kubectl(client: Client, kubeconfig: Path) -> Kubectl:
    """A function that runs kubectl in the module's namespace; `stdin` is what `-f -` reads."""

    def run(*arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        argv = [str(binaries.kubectl()), "--kubeconfig", str(kubeconfig), "-n", client.namespace, *arguments]
        return subprocess.run(argv, input=stdin, capture_output=True, text=True)

    return run


def manifest(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}


def create(client: Client, kind: str, name: str, spec: dict[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
    return client.create(kind, manifest(kind, name, spec), dry_run=dry_run)


@given(spec=specs(TrainJobSpec))
@settings(WHOLE_SPECS, max_examples=50)
def test_the_server_takes_every_trainjob_that_the_types_take(client: Client, spec: dict[str, Any]) -> None:
    stored = create(client, "TrainJob", "any", spec, dry_run=True)
    assert parse_trainjob(stored) == TrainJobSpec.model_validate(spec)


@given(spec=specs(ModelServeSpec))
@settings(WHOLE_SPECS, max_examples=50)
def test_the_server_takes_every_modelserve_that_the_types_take(client: Client, spec: dict[str, Any]) -> None:
    stored = create(client, "ModelServe", "any", spec, dry_run=True)
    assert parse_modelserve(stored) == ModelServeSpec.model_validate(spec)


def test_the_server_fills_in_every_default_that_the_types_have(client: Client) -> None:
    stored = create(client, "TrainJob", "defaults", ZOO, dry_run=True)
    filled = TrainJobSpec.model_validate(ZOO).model_dump(by_alias=True, exclude_none=True)
    assert stored["spec"] == filled


@pytest.mark.parametrize(("written", "meant"), [(2, "2"), (0.5, "0.5"), (2.0, "2"), ("500m", "500m")])
def test_a_quantity_may_be_written_as_a_number_as_in_a_pod(client: Client, written: Any, meant: str) -> None:
    spec = {**ZOO, "resources": {"cpu": written}}
    assert parse_trainjob(create(client, "TrainJob", "number", spec, dry_run=True)).resources.cpu == meant


def test_null_means_unset(client: Client) -> None:
    spec = {**ZOO, "resources": {"gpus": 1, "gpu": {"minMemory": "40Gi", "mig": None}}, "checkpoint": None}
    assert parse_trainjob(create(client, "TrainJob", "nulls", spec, dry_run=True)).checkpoint is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"trainer": {"batchSize": 0}}, "spec.trainer.batchSize in body should be greater than or equal to 1"),
        ({"gates": {"minAccuracy": 1.5}}, "spec.gates.minAccuracy in body should be less than or equal to 1"),
        ({"resources": {"gpus": -1}}, "spec.resources.gpus in body should be greater than or equal to 0"),
        ({"resources": {"cpu": "many"}}, "spec.resources.cpu in body should match"),
        ({"resources": {"cpu": -0.5}}, "spec.resources.cpu in body should be greater than or equal to 0"),
        (
            {"resources": {"nodeSelector": {"zone": "two words"}}},
            "spec.resources.nodeSelector.zone in body should match",
        ),
        ({"workers": {"processesPerNode": "two"}}, "spec.workers.processesPerNode in body should match"),
        ({"trainer": {"optimizer": "adagrad"}}, 'spec.trainer.optimizer: Unsupported value: "adagrad"'),
    ],
)
def test_the_schema_refuses_at_creation(client: Client, change: dict[str, Any], said: str) -> None:
    with pytest.raises(ApiError) as refused:
        create(client, "TrainJob", "bad", {**ZOO, **change}, dry_run=True)
    assert refused.value.status == 422
    assert said in refused.value.message


@pytest.mark.parametrize(("kind", "limit"), [("TrainJob", 52), ("ModelServe", 40)])
def test_the_schema_refuses_a_name_that_leaves_no_room_for_children(client: Client, kind: str, limit: int) -> None:
    spec = ZOO if kind == "TrainJob" else {"model": {"name": "digits"}}
    create(client, kind, "a" * limit, spec, dry_run=True)
    with pytest.raises(ApiError, match=rf"metadata\.name\b.*\b{limit}\b"):
        create(client, kind, "a" * (limit + 1), spec, dry_run=True)


def test_kubectl_refuses_an_unknown_field_by_name(kubectl: Kubectl) -> None:
    give_up = time.monotonic() + 60
    # kubectl takes the fields from the server's OpenAPI document, which is updated slightly after a definition.
    while "io.trainserve.v1alpha1.TrainJob" not in kubectl("get", "--raw", "/openapi/v2").stdout:
        assert time.monotonic() < give_up
        time.sleep(0.1)
    bad = manifest("TrainJob", "unknown", {**ZOO, "trainer": {"batchsize": 8}})
    done = kubectl("apply", "-f", "-", stdin=json.dumps(bad))
    assert done.returncode != 0
    assert "batchsize" in done.stderr


@pytest.mark.skipif("KUBECONFIG" in os.environ, reason="writes a status of its own: the operator there has another")
def test_kubectl_prints_the_columns(kubectl: Kubectl, client: Client) -> None:
    for example in sorted((EXAMPLES / "digits").glob("*.yaml")):
        assert kubectl("apply", "-f", str(example)).returncode == 0
    digest = "sha256:" + 64 * "a"
    running = TrainJobStatus.model_validate(
        {
            "phase": "Succeeded",
            "artifact": {
                "uri": "pvc://trainserve-models/default/digits/1",
                "version": 1,
                "digest": digest,
                "bytes": 1,
                "opset": 18,
                "parity": {"maxAbs": 1e-7, "maxRel": 1e-6},
            },
        }
    ).model_copy(
        update={
            "progress": Progress(epoch=5, epochs=5, samples_per_second=4437.2),
            "result": Result(accuracy=0.97368),
        }
    )
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "Serving",
        "message": "1 of 1 pods serve version 1",
        "lastTransitionTime": "2026-11-22T16:00:00Z",
    }
    serving = ModelServeStatus.model_validate(
        {"conditions": [ready], "version": 1, "url": "http://digits:8000", "latency": {"p99Ms": 2.14}}
    ).model_copy(update={"replicas": Replicas(desired=1, ready=1)})
    for kind, status in (("TrainJob", running), ("ModelServe", serving)):
        body = {"status": status.model_dump(by_alias=True, exclude_none=True, mode="json")}
        written = client.patch(kind, "digits", body, subresource="status")
        assert written["status"] == body["status"], "a status field is not in the schema"
    assert _table(kubectl("get", "tsj").stdout) == {
        "NAME": "digits", "PHASE": "Succeeded", "EPOCH": "5/5", "ACCURACY": "0.974", "IMG/S": "4437", "VERSION": "1",
    }  # fmt: skip
    assert _table(kubectl("get", "tsm").stdout) == {
        "NAME": "digits", "READY": "True", "VERSION": "1", "REPLICAS": "1/1", "P99": "2.1ms", "URL": "http://digits:8000",
    }  # fmt: skip


def test_kubectl_explains_a_field(kubectl: Kubectl) -> None:
    assert "Samples per optimizer step" in kubectl("explain", "trainjob.spec.trainer.batchSize").stdout


def test_the_definitions_of_the_server_lost_nothing_but_cel(kubectl: Kubectl) -> None:
    """A non-structural schema is stored too, but with a condition that reports it and without pruning."""
    for plural in ("trainjobs", "modelserves"):
        stored = yaml.safe_load(kubectl("get", "crd", f"{plural}.{GROUP}", "-o", "yaml").stdout)
        assert not [c for c in stored["status"]["conditions"] if c["type"] == "NonStructuralSchema"]


def _table(output: str) -> dict[str, str]:
    """Return the only row by column, without the age, which varies."""
    header, row = output.splitlines()
    cells = dict(zip(header.split(), row.split(), strict=True))
    del cells["AGE"]
    return cells
