"""The definitions in the chart are generated from the types, and express everything that the types do."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings

from tests.api.specs import WHOLE_SPECS, specs
from trainserve.api.modelserve import ModelServeSpec
from trainserve.api.modelserve_status import ModelServeStatus
from trainserve.api.reported import Progress, Result
from trainserve.api.trainjob import TrainJobSpec
from trainserve.api.trainjob_status import TrainJobStatus
from trainserve.operator.crds import as_yaml, modelserve_crd, trainjob_crd

ROOT = Path(__file__).parents[2]
CRDS = {"trainjobs": trainjob_crd(), "modelserves": modelserve_crd()}


def root_schema(plural: str) -> dict[str, Any]:
    (version,) = CRDS[plural]["spec"]["versions"]
    schema: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    return schema


def schema_of(plural: str, part: str) -> dict[str, Any]:
    schema: dict[str, Any] = root_schema(plural)["properties"][part]
    return schema


def closed(schema: Any) -> Any:
    """Return the schema with the API server's pruning made explicit: fields that it does not name are not allowed."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: closed(value) for key, value in schema.items()}
    return {**inner, "additionalProperties": False} if isinstance(schema.get("properties"), dict) else inner


def nodes(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        yield schema
        for value in schema.values():
            yield from nodes(value)
    elif isinstance(schema, list):
        for item in schema:
            yield from nodes(item)


@pytest.mark.parametrize("plural", CRDS)
def test_the_charts_definitions_are_generated_from_the_types(plural: str) -> None:
    kept = ROOT / "charts" / "trainserve" / "files" / "crds" / f"{plural}.yaml"
    assert kept.read_text() == as_yaml(CRDS[plural]), "the types have changed: run `make crds`"
    assert yaml.safe_load(kept.read_text()) == CRDS[plural]


@pytest.mark.parametrize(
    ("plural", "columns"),
    [
        ("trainjobs", ["PHASE", "EPOCH", "ACCURACY", "IMG/S", "VERSION", "AGE"]),
        ("modelserves", ["READY", "VERSION", "REPLICAS", "P99", "URL", "AGE"]),
    ],
)
def test_kubectl_prints_these_columns(plural: str, columns: list[str]) -> None:
    (version,) = CRDS[plural]["spec"]["versions"]
    assert [column["name"] for column in version["additionalPrinterColumns"]] == columns


@pytest.mark.parametrize("plural", CRDS)
def test_nothing_is_left_that_a_structural_schema_may_not_hold(plural: str) -> None:
    for node in nodes(root_schema(plural)):
        assert "$ref" not in node
        assert node.get("type") != "null"
        assert ("anyOf" in node) == ("x-kubernetes-int-or-string" in node)
        assert not ("properties" in node and "additionalProperties" in node)


@settings(WHOLE_SPECS, max_examples=60)
@given(spec=specs(TrainJobSpec))
def test_any_trainjob_that_the_types_accept_fits_the_schema_and_comes_back_the_same(spec: dict[str, Any]) -> None:
    _fits_and_comes_back("trainjobs", TrainJobSpec, spec)


@settings(WHOLE_SPECS, max_examples=60)
@given(spec=specs(ModelServeSpec))
def test_any_modelserve_that_the_types_accept_fits_the_schema_and_comes_back_the_same(spec: dict[str, Any]) -> None:
    _fits_and_comes_back("modelserves", ModelServeSpec, spec)


def _fits_and_comes_back(plural: str, model: type[TrainJobSpec | ModelServeSpec], spec: dict[str, Any]) -> None:
    # OpenAPI 3.0 uses JSON Schema's draft 4, in which exclusive bounds are booleans.
    validator = jsonschema.Draft4Validator(closed(schema_of(plural, "spec")))
    validator.validate(spec)
    parsed = model.model_validate(spec)
    written = parsed.model_dump(by_alias=True, exclude_none=True, mode="json")
    validator.validate(written)
    assert model.model_validate(written) == parsed


@pytest.mark.parametrize(
    ("plural", "spec", "refused"),
    [
        ("trainjobs", {"model": {}, "trainer": {"batchSize": 0}}, "less than the minimum of 1"),
        ("trainjobs", {"model": {}, "trainer": {"learningRate": 0}}, "less than or equal to the minimum of 0"),
        ("trainjobs", {"model": {}, "gates": {"minAccuracy": 1.5}}, "greater than the maximum of 1"),
        ("trainjobs", {"model": {}, "resources": {"gpus": -1}}, "less than the minimum of 0"),
        ("trainjobs", {"model": {}, "workers": {"processesPerNode": "2"}}, "does not match"),
        ("trainjobs", {"model": {}, "workers": {"processesPerNode": 0}}, "less than the minimum of 1"),
        ("trainjobs", {}, "'model' is a required property"),
        ("modelserves", {"model": {"digest": "sha256:abc"}}, "does not match"),
        ("modelserves", {"model": {}, "rollout": {"steps": [0]}}, "less than the minimum of 1"),
    ],
)
def test_the_schema_refuses(plural: str, spec: dict[str, Any], refused: str) -> None:
    with pytest.raises(jsonschema.ValidationError, match=refused):
        jsonschema.Draft4Validator(schema_of(plural, "spec")).validate(spec)


def test_columns_come_from_progress_until_there_is_a_result() -> None:
    running = TrainJobStatus(progress=Progress(epoch=3, epochs=5, samples_per_second=4437.4, accuracy=0.9))
    assert running.columns.model_dump() == {"epoch": "3/5", "accuracy": "0.900", "images_per_second": "4437"}
    finished = running.model_copy(update={"result": Result(accuracy=0.9736842)})
    assert finished.columns.accuracy == "0.974"
    assert TrainJobStatus().columns.model_dump(exclude_none=True) == {}


def test_what_a_trainjob_measured_fits_the_schema() -> None:
    status = {
        "progress": {"epoch": 1, "gpuUtilization": 0.9, "gpuMemoryBytes": 2**33, "samplesPerSecond": 10.5},
        "result": {
            "accuracy": 0.97,
            "precision": "bf16",
            "exportedAccuracy": 0.96,
            "exportedLoss": 0.2,
            "energyJoules": 120.5,
            "energy": {
                "joules": 120.5,
                "source": "nvml",
                "reason": "no RAPL counter",
                "joulesPerEpoch": 24.1,
                "joulesPerImage": 0.01,
                "cpuJoules": 60.0,
                "gramsCO2e": 0.0127,
            },
        },
        "artifact": {
            "uri": "pvc://trainserve-models/default/digits/1",
            "version": 1,
            "digest": "sha256:" + 64 * "a",
            "bytes": 1,
            "opset": 18,
            "precision": "int8",
            "parity": {"maxAbs": 1e-7, "maxRel": 1e-6},
        },
    }
    written = TrainJobStatus.model_validate(status).model_dump(by_alias=True, exclude_none=True, mode="json")
    jsonschema.Draft4Validator(closed(schema_of("trainjobs", "status"))).validate(written)
    assert {**written, "columns": None} == {**status, "columns": None}


def test_a_status_with_every_field_fits_the_schema() -> None:
    status = {
        "phase": "Ready",
        "conditions": [
            {
                "type": "Ready",
                "status": "True",
                "reason": "Verified",
                "message": "64 samples match",
                "lastTransitionTime": "2026-11-22T16:00:00Z",
                "observedGeneration": 1,
            }
        ],
        "observedGeneration": 1,
        "url": "http://digits.default:8000",
        "grpcUrl": "digits.default:8001",
        "version": 1,
        "digest": "sha256:" + 64 * "a",
        "replicas": {"desired": 2, "ready": 1},
        "latency": {"p50Ms": 0.7, "p99Ms": 2.14},
        "tuning": {
            "key": "0123456789",
            "objective": "20ms",
            "held": True,
            "message": "holds",
            "maxBatch": 8,
            "maxQueueDelay": "500us",
            "instances": 1,
            "threads": 2,
            "p99Ms": 2.0,
            "requestsPerSecond": 812.5,
        },
        "history": [{"version": 1, "digest": "sha256:" + 64 * "a", "time": "2026-11-22T16:00:00Z"}],
    }
    written = ModelServeStatus.model_validate(status).model_dump(by_alias=True, exclude_none=True, mode="json")
    jsonschema.Draft4Validator(closed(schema_of("modelserves", "status"))).validate(written)
    assert written.pop("columns") == {"replicas": "1/2", "p99": "2.1ms"}
    assert written == status


def test_a_figure_that_is_not_a_number_is_left_out() -> None:
    progress = Progress.model_validate({"loss": float("nan"), "accuracy": float("inf"), "epoch": 1, "news": "ignored"})
    assert progress.model_dump(exclude_none=True) == {"epoch": 1}
