"""Open fields are bounded in count, length and depth: by the schema, and by the operator for objects stored earlier."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trainserve.api import API_VERSION
from trainserve.api.open_fields import MAX_FIELDS, MAX_ITEMS, MAX_TEXT
from trainserve.dev.kube import ApiError, Client
from trainserve.operator.specs import InvalidSpec, parse_modelserve, parse_trainjob

TAKEN: list[dict[str, Any]] = [
    {"stem": "imagenet", "width": 32, "rate": 0.5, "bias": True, "pool": None},
    {"layers": [2, 2, 2], "names": ["a", "b"], "none": [], "mixed": [1, 1.5, "x", False]},
    {f"field{number}": number for number in range(MAX_FIELDS)},
    {"text": "w" * MAX_TEXT, "list": [0] * MAX_ITEMS},
]
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"a": {"b": 1}}, "a text, a number, true, false or a list of these in a"),
    ({"a": [[1]]}, "a text, a number, true, false or a list of these in a"),
    ({"a": [{"b": 1}]}, "a text, a number, true, false or a list of these in a"),
    ({f"field{number}": 1 for number in range(MAX_FIELDS + 1)}, "must have at most 64 fields, not 65"),
    ({"a": "w" * (MAX_TEXT + 1)}, "must have at most 4096 characters in a"),
    ({"a": ["w" * (MAX_TEXT + 1)]}, "must have at most 4096 characters in a"),
    ({"a": [0] * (MAX_ITEMS + 1)}, "must have at most 256 items in a, not 257"),
]
LEFT_TO_THE_OPERATOR: list[dict[str, Any]] = [{"a": {}}, {"a": [{}]}]
"""An empty object is harmless, and a schema without a type cannot refuse it."""
DEEP: list[dict[str, Any]] = [
    {"sequence_batching": {"state": [{"initial_state": [{"dims": [1]}]}]}},
    {"sequenceBatching": {"controlInput": [{"name": "start", "control": [{"int32FalseTrue": [0, 1]}]}]}},
    {"optimization": {"execution_accelerators": {"gpu_execution_accelerator": [{"parameters": {"a": "b"}}]}}},
    {"model_warmup": [{"name": "w", "inputs": {"x": {"data_type": "TYPE_FP32", "dims": [3], "zero_data": True}}}]},
    {"instance_group": [{"rate_limiter": {"resources": [{"name": "r", "count": 1}]}}], "model_metrics": None},
    {"parameters": {"key": {"string_value": "w" * 5000}}, "max_batch_size": 4, "default_model_filename": "m"},
]
TOO_DEEP: list[dict[str, Any]] = [
    {"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": 1}}}}}}}},
    {"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": {"i": {"j": 1}}}}}}}}}},
    {"a": [[1]]},
    {"a": {"b": [[[1]]]}},
]


def trainjob(field: str, options: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = {"model": {"name": "m"}, "dataset": {"name": "digits"}, "output": {"model": "m"}}
    spec[field]["options"] = options
    return {"apiVersion": API_VERSION, "kind": "TrainJob", "metadata": {"name": "open"}, "spec": spec}


def modelserve(overrides: dict[str, Any]) -> dict[str, Any]:
    spec = {"model": {"name": "m"}, "triton": {"overrides": overrides}}
    return {"apiVersion": API_VERSION, "kind": "ModelServe", "metadata": {"name": "open"}, "spec": spec}


@pytest.mark.parametrize("field", ["model", "dataset"])
@pytest.mark.parametrize("options", [*TAKEN, {}])
def test_scalars_and_lists_of_scalars_are_options(field: str, options: dict[str, Any]) -> None:
    assert getattr(parse_trainjob(trainjob(field, options)), field).options == options


@pytest.mark.parametrize("field", ["model", "dataset"])
@pytest.mark.parametrize(("options", "said"), REFUSED + [(each, "a text, a number") for each in LEFT_TO_THE_OPERATOR])
def test_other_options_are_refused_in_words(field: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidSpec, match=rf"^spec\.{field}\.options: .*{said}"):
        parse_trainjob(trainjob(field, options))


@pytest.mark.parametrize("overrides", DEEP)
def test_whatever_tritons_own_configuration_has_is_an_override(overrides: dict[str, Any]) -> None:
    assert parse_modelserve(modelserve(overrides)).triton.overrides == overrides


@pytest.mark.parametrize("overrides", TOO_DEEP)
def test_what_is_deeper_than_that_is_refused_in_words(overrides: dict[str, Any]) -> None:
    with pytest.raises(InvalidSpec, match=r"^spec\.triton\.overrides: .* must hold nothing that Triton's own fields"):
        parse_modelserve(modelserve(overrides))


def test_a_depth_that_no_stack_has_room_for_is_refused_like_any_other() -> None:
    value: Any = 1
    for _ in range(100_000):
        value = [value]
    for whole, parse in (
        (trainjob("model", {"a": value}), parse_trainjob),
        (modelserve({"a": value}), parse_modelserve),
    ):
        with pytest.raises(InvalidSpec, match="must hold"):
            parse(whole)


@pytest.fixture(scope="module")
def client(kubeconfig: Path) -> Iterator[Client]:
    """A client in a namespace of this module."""
    name = f"open-{os.getpid()}"
    with Client(kubeconfig, name) as client:
        client.create("Namespace", {"metadata": {"name": name}})
        yield client
        client.delete("Namespace", name)


def stored(client: Client, whole: dict[str, Any]) -> dict[str, Any]:
    """Return the spec as the API server would store it. Raises ApiError."""
    return dict(client.create(whole["kind"], whole, dry_run=True)["spec"])


@pytest.mark.cluster
@pytest.mark.parametrize("field", ["model", "dataset"])
def test_a_server_takes_what_we_take_and_refuses_what_is_nested(client: Client, field: str) -> None:
    for options in TAKEN:
        assert stored(client, trainjob(field, options))[field]["options"] == options
    for options, _ in REFUSED:
        with pytest.raises(ApiError, match=rf"spec\.{field}\.options"):
            stored(client, trainjob(field, options))


@pytest.mark.cluster
def test_a_server_takes_tritons_own_depth_and_no_more(client: Client) -> None:
    for overrides in DEEP:
        assert stored(client, modelserve(overrides))["triton"]["overrides"] == overrides
    for overrides in TOO_DEEP:
        with pytest.raises(ApiError, match=r"spec\.triton\.overrides"):
            stored(client, modelserve(overrides))


@pytest.mark.cluster
@pytest.mark.parametrize("value", [{"a": 1}, [1], {"a": {"b": {"c": 1}}}])
def test_a_server_takes_no_object_or_list_for_a_quantity(client: Client, value: Any) -> None:
    whole = modelserve({})
    for place in ({"cpu": value}, {"memory": value}, {"gpus": 1, "gpu": {"minMemory": value}}):
        whole["spec"]["resources"] = place
        with pytest.raises(ApiError, match=r"spec\.resources"):
            stored(client, whole)
