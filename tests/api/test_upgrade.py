"""Objects that a released schema accepted remain writable under today's, on servers without ratcheting (before 1.30),
which validate every write, even of a status or a finalizer, against the whole schema.

A release's schemas are saved by `python -m tests.api.released COMMIT`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.api.specs import WHOLE_SPECS
from trainserve.api.scalars import quantity
from trainserve.dev.kube import MERGE, ApiError, Client, Refused, Request
from trainserve.operator.crds import modelserve_crd, trainjob_crd
from trainserve.operator.resources import Resource

RELEASED = sorted((Path(__file__).parent / "released").glob("*.json"))
KINDS = {"TrainJob": trainjob_crd, "ModelServe": modelserve_crd}
RELEASES = [(path, kind) for path in RELEASED for kind in KINDS]
IDS = [f"{path.stem}-{kind}" for path, kind in RELEASES]
Schema = dict[str, Any]

WIDER = {(r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$", quantity.PATTERN)}
"""Pairs (old pattern, new pattern) in which the new one accepts at least as much."""


BOUNDED = {
    "TrainJob": {"model.options", "dataset.options"},
    "ModelServe": {"triton.overrides"},
}
"""Open fields that once accepted any JSON, which broke its readers; their values are now bounded (docs/operations.md
describes what happens to stored objects that exceed the bounds)."""
UNTYPED = {"resources.cpu", "resources.memory", "resources.gpu.minMemory"}
"""Quantities whose schema once accepted objects and lists, which the operator has always refused."""


def schema_of(definition: Schema) -> Schema:
    (version,) = definition["spec"]["versions"]
    schema: Schema = version["schema"]["openAPIV3Schema"]
    return schema


def released(path: Path, kind: str) -> Schema:
    (found,) = (each for each in json.loads(path.read_text()) if each["spec"]["names"]["kind"] == kind)
    return dict(found)


def of_new_fields(rule: str, old: Schema) -> bool:
    """Return whether the rule ignores objects that set none of the fields missing from the old schema."""
    guard = re.match(r"!has\(self\.(\w+)\) \|\| |!\((has\(self\.\w+\)(?: \|\| has\(self\.\w+\))*)\) \|\| ", rule)
    names = re.findall(r"has\(self\.(\w+)\)", guard[0]) if guard else []
    return bool(names) and not set(names) & set(old.get("properties", {}))


def narrower(old: Schema, new: Schema, place: str) -> Iterator[str]:
    """Yield each place where the new schema refuses, or prunes, what the old one accepted."""
    for key in ("type", "format"):
        if key in new and new[key] != old.get(key):
            yield f"{place}: {key} {old.get(key)} became {new[key]}"
    if "enum" in new and not set(old.get("enum", [object()])) <= set(new["enum"]):
        yield f"{place}: enum {old.get('enum')} became {new['enum']}"
    if "pattern" in new and new["pattern"] != old.get("pattern") and (old.get("pattern"), new["pattern"]) not in WIDER:
        yield f"{place}: pattern {old.get('pattern')} became {new['pattern']}"
    for lower in ("minimum", "minLength", "minItems", "minProperties"):
        if new.get(lower, float("-inf")) > old.get(lower, float("-inf")) and not (
            lower != "minimum" and not new[lower]
        ):
            yield f"{place}: {lower} {old.get(lower)} became {new[lower]}"
    for upper in ("maximum", "maxLength", "maxItems", "maxProperties"):
        if new.get(upper, float("inf")) < old.get(upper, float("inf")):
            yield f"{place}: {upper} {old.get(upper)} became {new[upper]}"
    for flag in ("exclusiveMinimum", "exclusiveMaximum", "x-kubernetes-list-type", "anyOf"):
        if flag in new and new[flag] != old.get(flag):
            yield f"{place}: {flag} {old.get(flag)} became {new[flag]}"
    if missing := set(new.get("required", [])) - set(old.get("required", [])):
        yield f"{place}: {', '.join(sorted(missing))} became required"
    if old.get("x-kubernetes-preserve-unknown-fields") and not new.get("x-kubernetes-preserve-unknown-fields"):
        yield f"{place}: drops what it does not know"
    rules = {rule["rule"] for rule in old.get("x-kubernetes-validations", [])}
    for rule in new.get("x-kubernetes-validations", []):
        # A rule on oldSelf is about changes, and a write of the status does not change the spec.
        if not (rule["rule"] in rules or "oldSelf" in rule["rule"] or of_new_fields(rule["rule"], old)):
            yield f"{place}: {rule['message']}"
    for name, field in old.get("properties", {}).items():
        if name in new.get("properties", {}):
            yield from narrower(field, new["properties"][name], f"{place}.{name}")
        elif not new.get("x-kubernetes-preserve-unknown-fields"):
            yield f"{place}.{name}: is gone"
    for inner in ("items", "additionalProperties"):
        if inner in old:
            yield from narrower(old[inner], new.get(inner, {}), f"{place}[]")


@pytest.mark.parametrize(("path", "kind"), RELEASES, ids=IDS)
def test_todays_schema_takes_all_that_a_released_one_took(path: Path, kind: str) -> None:
    found = narrower(schema_of(released(path, kind)), schema_of(KINDS[kind]()), kind)
    allowed = tuple(f"{kind}.spec.{place}: " for place in BOUNDED[kind] | UNTYPED)
    assert [each for each in found if not each.startswith(allowed)] == []


def test_only_what_breaks_a_reader_is_refused_in_an_open_field() -> None:
    for kind, places in BOUNDED.items():
        for place in places:
            schema = schema_of(KINDS[kind]())["properties"]["spec"]
            for name in place.split("."):
                schema = schema["properties"][name]
            values = schema["additionalProperties"]
            assert values["x-kubernetes-preserve-unknown-fields"] and values["nullable"] and "type" not in values
            assert values["items"]["x-kubernetes-preserve-unknown-fields"]


@pytest.mark.parametrize(
    ("place", "change", "said"),
    [
        ("trainer.epochs", {"maximum": 10}, "maximum 100000 became 10"),
        ("trainer.optimizer", {"enum": ["adam"]}, "enum ['adam', 'adamw', 'sgd'] became ['adam']"),
        ("output.model", {"pattern": "^a$"}, "pattern ^[a-z0-9]([-a-z0-9]*[a-z0-9])?$ became ^a$"),
        ("model.command", {"items": {"type": "string", "maxLength": 9}}, "maxLength None became 9"),
        ("model", {"required": ["name"]}, "name became required"),
        ("model", {"x-kubernetes-validations": [{"rule": "false", "message": "no more"}]}, "no more"),
        (
            "model",
            {"x-kubernetes-validations": [{"rule": "!has(self.name) || false", "message": "no name"}]},
            "no name",
        ),
        ("policy", {"properties": {}}, "is gone"),
        ("resources.nodeSelector", {"additionalProperties": {"type": "integer"}}, "type string became integer"),
    ],
)
def test_what_is_narrower_is_found(place: str, change: Schema, said: str) -> None:
    old = schema_of(released(RELEASED[0], "TrainJob"))
    new = deepcopy(old)
    node = new["properties"]["spec"]
    for name in place.split("."):
        node = node["properties"][name]
    node.update(change)
    found = list(narrower(old, new, "TrainJob"))
    assert found and all(each.startswith(f"TrainJob.spec.{place}") for each in found)
    assert said in found[0]


@given(st.data())
def test_a_wider_pattern_takes_all_that_the_one_before_it_took(data: st.DataObject) -> None:
    for old, new in WIDER:
        assert re.fullmatch(new, data.draw(st.from_regex(old, fullmatch=True, alphabet=st.characters(codec="ascii"))))


def values(schema: Schema) -> st.SearchStrategy[Any]:
    """Draw values that a structural schema accepts; the bounds are drawn more often than values between them."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema.get("x-kubernetes-preserve-unknown-fields") and "pattern" not in schema:
        return st.just({"any": [1, "two"]})
    if "pattern" in schema:
        texts = st.from_regex(schema["pattern"], fullmatch=True, alphabet=st.characters(codec="ascii"))
        return texts.filter(lambda text: 0 < len(text) <= schema.get("maxLength", 1000))
    match schema["type"]:
        case "boolean":
            return st.booleans()
        case "integer" | "number" as kind:
            low, high = schema.get("minimum", -(2**31)), schema.get("maximum", 2**31)
            step = 1 if kind == "integer" else min(1e-3, (high - low) / 4)
            low += step if schema.get("exclusiveMinimum") else 0
            high -= step if schema.get("exclusiveMaximum") else 0
            return st.sampled_from([low, high, (low + high) // 2 if kind == "integer" else (low + high) / 2])
        case "string" if schema.get("format") == "date-time":
            return st.just("2026-11-22T16:00:00Z")
        case "string":
            most = min(schema.get("maxLength", 40), 3000)
            return st.sampled_from(["x" * schema.get("minLength", 1), "w" * most])
        case "array":
            length = min(schema.get("maxItems", 3), 70)
            if schema.get("x-kubernetes-list-type") == "map":
                return st.lists(values(schema["items"]), min_size=1, max_size=1)
            return st.lists(values(schema["items"]), min_size=schema.get("minItems", 0), max_size=length)
        case "object" if "additionalProperties" in schema:
            keys = st.sampled_from(["a", "a.b/c", "two words", "k" * 300])
            return st.dictionaries(keys, values(schema["additionalProperties"]), max_size=4)
        case "object":
            # All fields: a present value can violate a bound, a missing one cannot.
            return st.fixed_dictionaries({name: values(field) for name, field in schema.get("properties", {}).items()})
    raise TypeError(f"no strategy for {schema}")


GROUP = f"upgrade-{os.getpid()}.trainserve.io"
"""Group of this module's own definitions: the server's other definitions remain unchanged."""
ROUNDS = 12


def own(definition: Schema, **marks: Schema) -> Schema:
    """Return the definition in this module's group with additional fields `marks`, and without CEL, which not every
    server knows and whose rules are compared above."""
    copy = without_rules(definition)
    copy["spec"]["group"], copy["metadata"]["name"] = GROUP, f"{copy['spec']['names']['plural']}.{GROUP}"
    copy["spec"]["names"] |= {"shortNames": [], "categories": []}
    schema_of(copy)["properties"] |= marks
    return dict(copy)


def without_rules(node: Any) -> Any:
    if isinstance(node, list):
        return [without_rules(each) for each in node]
    if not isinstance(node, dict):
        return node
    return {key: without_rules(value) for key, value in node.items() if key != "x-kubernetes-validations"}


@pytest.fixture(scope="module")
def client(kubeconfig: Path) -> Iterator[Client]:
    """A client in a namespace of this module."""
    name = f"upgrade-{os.getpid()}"
    with Client(kubeconfig, name) as client:
        client.create("Namespace", {"metadata": {"name": name}})
        yield client
        client.delete("Namespace", name)


SMALLEST = {"TrainJob": {"model": {"command": ["true"]}}, "ModelServe": {"model": {"name": "digits"}}}


def install(client: Client, kind: str, definition: Schema, mark: str) -> Resource:
    """Apply the definition; return the resource once the server uses it, that is, stores the field `mark`."""
    crd = own(definition, **{mark: {"type": "boolean"}})
    try:
        client.create("CustomResourceDefinition", crd)
    except ApiError as error:
        assert error.status == 409, error
        change = {"spec": {"versions": crd["spec"]["versions"]}}
        client.patch("CustomResourceDefinition", crd["metadata"]["name"], change)
    resource = Resource(GROUP, "v1alpha1", kind, definition["spec"]["names"]["plural"])
    give_up = time.monotonic() + 60
    while True:
        with contextlib.suppress(Refused):  # the kind is not served yet
            probe = resource.typed({"metadata": {"name": "probe"}, "spec": SMALLEST[kind], mark: True})
            if client.send(Request("POST", resource.path(client.namespace), probe, {"dryRun": "All"})).get(mark):
                return resource
        assert time.monotonic() < give_up, f"the server does not take up {mark}"
        time.sleep(0.05)


@pytest.mark.cluster
@pytest.mark.parametrize(("path", "kind"), RELEASES, ids=IDS)
def test_status_and_finalizers_of_stored_objects_are_written_after_the_upgrade(
    client: Client, path: Path, kind: str
) -> None:
    old = released(path, kind)
    fields = schema_of(old)["properties"]
    resource = install(client, kind, old, "before")
    stored: list[str] = []

    def change(patch: Schema, name: str, subresource: str | None = None) -> Schema:
        path = resource.path(client.namespace, name, subresource)
        return client.send(Request("PATCH", path, patch, content_type=MERGE))

    @settings(WHOLE_SPECS, max_examples=ROUNDS, database=None, phases=[Phase.generate])
    @given(values(fields["spec"]), values(fields["status"]))
    def store(spec: Any, status: Any) -> None:
        name = f"object-{len(stored)}"
        created = resource.typed({"metadata": {"name": name}, "spec": spec})
        client.send(Request("POST", resource.path(client.namespace), created))
        stored.append(name)
        change({"status": status}, name, "status")

    store()
    assert len(stored) == ROUNDS
    install(client, kind, KINDS[kind](), "after")
    for name in stored:
        written = change({"status": {"phase": "upgraded"}}, name, "status")
        assert written["status"]["phase"] == "upgraded"
        for finalizers in (["trainserve.io/test"], None):
            change({"metadata": {"finalizers": finalizers}}, name)
    client.delete("CustomResourceDefinition", own(old)["metadata"]["name"])
