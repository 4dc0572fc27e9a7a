"""Each rule exists in CEL and in Python: both must agree on every object."""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests import cel
from tests.api.specs import WHOLE_SPECS, specs, specs_without_rules
from trainserve.api.base import ApiType
from trainserve.api.trainjob import TrainJobSpec
from trainserve.operator.crds import modelserve_crd, trainjob_crd
from trainserve.operator.schema import structural_schema

schema = cache(structural_schema)


def below(kind: type[ApiType]) -> Iterator[type[ApiType]]:
    for each in kind.__subclasses__():
        yield each
        yield from below(each)


RULED = sorted(
    (model for model in below(ApiType) if model.rules and model.__module__.startswith("trainserve.api.")),
    key=lambda model: model.__name__,
)


@pytest.mark.parametrize("model", RULED, ids=lambda model: model.__name__)
@given(data=st.data())
@settings(WHOLE_SPECS, max_examples=30)
def test_cel_and_python_break_the_same_rules(model: type[ApiType], data: st.DataObject) -> None:
    manifest = data.draw(specs_without_rules(model))
    broken_in_python = _broken(model, manifest)
    stored = as_stored(manifest, schema(model))
    assume("\\u0000" not in json.dumps(stored))  # Google's wrapper truncates strings at NUL (0.1.3)
    broken_in_cel = {rule.message for rule in model.rules if not cel.evaluate(rule.cel, {"self": stored})}
    assert broken_in_cel == broken_in_python


@pytest.mark.parametrize("crd", [trainjob_crd(), modelserve_crd()], ids=lambda crd: crd["spec"]["names"]["kind"])
def test_every_default_keeps_its_types_rules_as_it_stands(crd: dict[str, Any]) -> None:
    """A server that knows CEL refuses the definition otherwise: it checks defaults before completing nested ones."""
    (version,) = crd["spec"]["versions"]
    ruled = [
        node
        for node in nodes(version["schema"]["openAPIV3Schema"])
        if "default" in node and "x-kubernetes-validations" in node
    ]
    assert ruled
    for node in ruled:
        assert all(cel.evaluate(rule["rule"], {"self": node["default"]}) for rule in node["x-kubernetes-validations"])


def nodes(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the schema and every schema within it."""
    yield schema
    inner = [*schema.get("properties", {}).values(), schema.get("items"), schema.get("additionalProperties")]
    for each in filter(None, inner):
        yield from nodes(each)


def as_stored(value: Any, schema: dict[str, Any]) -> Any:
    """Return the value with the schema's defaults filled in, as the API server does before it evaluates rules."""
    if not isinstance(value, dict) or "properties" not in schema:
        return value
    fields = schema["properties"]
    filled = {name: field["default"] for name, field in fields.items() if "default" in field} | value
    return {name: as_stored(inner, fields.get(name, {})) for name, inner in filled.items()}


def _broken(model: type[ApiType], manifest: dict[str, Any]) -> set[str]:
    try:
        model.model_validate(manifest)
    except ValidationError as error:
        assume(all(detail["type"] == "rule" for detail in error.errors()))
        return {message for detail in error.errors() for message in detail["ctx"]["broken"].split("; ")}
    return set()


def test_every_type_with_rules_is_known_here() -> None:
    assert {model.__name__ for model in RULED} == {
        "Autoscaling", "Dataset", "DynamicBatching", "ModelRef", "ModelServeSpec", "ModelSource", "Peer", "Pretrained",
        "Priorities", "Resources", "Samples", "Toleration", "TrainJobSpec", "Trainer",
        "Variable",
    }  # fmt: skip


SPEC = {
    "model": {"name": "convnet"},
    "dataset": {"name": "digits"},
    "output": {"model": "digits"},
    "trainer": {"epochs": 5},
    "policy": {"retries": 3},
}
STARTED = {"attempts": [{"number": 1}]}


@pytest.mark.parametrize(
    ("change", "status", "allowed"),
    [
        ({}, STARTED, True),
        ({"trainer": {"epochs": 6}}, STARTED, False),
        ({"gates": {"minAccuracy": 0.5}}, STARTED, False),
        ({"policy": {"retries": 5}}, STARTED, True),
        ({"trainer": {"epochs": 6}}, {"attempts": []}, True),
        ({"trainer": {"epochs": 6}}, None, True),
    ],
)
def test_a_started_spec_may_change_its_policy_alone(
    change: dict[str, Any], status: dict[str, Any] | None, allowed: bool
) -> None:
    (version,) = trainjob_crd()["spec"]["versions"]
    (rule,) = version["schema"]["openAPIV3Schema"]["x-kubernetes-validations"]
    old = {"spec": SPEC} | ({} if status is None else {"status": status})
    new = {**old, "spec": {**SPEC, **change}}
    assert cel.evaluate(rule["rule"], {"self": new, "oldSelf": old}) is allowed
    assert cel.evaluate(rule["rule"], {"self": old, "oldSelf": new}) is allowed


@given(specs(TrainJobSpec))
@settings(WHOLE_SPECS, max_examples=20)
def test_an_unchanged_spec_is_never_refused(spec: dict[str, Any]) -> None:
    (version,) = trainjob_crd()["spec"]["versions"]
    (rule,) = version["schema"]["openAPIV3Schema"]["x-kubernetes-validations"]
    same = {"spec": spec, "status": STARTED}
    assert cel.evaluate(rule["rule"], {"self": same, "oldSelf": same}) is True
