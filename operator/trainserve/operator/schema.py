"""From a pydantic type to the structural OpenAPI v3 schema that a CustomResourceDefinition may hold.

The API server refuses what pydantic's own JSON schema is full of: references, `null` as a type, titles, closed objects.
Rules: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel

Schema = dict[str, Any]

_KEPT = (
    "type",
    "format",
    "description",
    "enum",
    "pattern",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "maxProperties",
    "required",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-validations",
)
NO_PARTS: Schema = {
    "x-kubernetes-preserve-unknown-fields": True,
    "maxProperties": 0,
    "maxItems": 0,
    # A server drops what lies deeper, also from objects that it stored under another schema.
    "additionalProperties": {"type": "string"},
    "items": {"type": "string"},
}
"""Of a value without a type: neither an object nor a list."""


def structural_schema(model: type[BaseModel], *, mode: Literal["validation", "serialization"] = "validation") -> Schema:
    """The schema of a type as it is read or, with `mode="serialization"`, as it is written (computed fields too)."""
    schema = model.model_json_schema(by_alias=True, mode=mode)
    return _structural(schema, schema.get("$defs", {}))


def _structural(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> Schema:
    if node.get("x-kubernetes-preserve-unknown-fields"):
        return dict(node)  # it is in this form already: trainserve.api.open_fields
    node = resolved(node, definitions)
    if "anyOf" in node:
        return _number_or_string(node, [_structural(choice, definitions) for choice in node["anyOf"]])
    schema: Schema = {key: node[key] for key in _KEPT if key in node}
    if "const" in node:
        schema["enum"] = [node["const"]]
    for bound, name in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if name in node:
            schema |= {bound: node[name], name: True}
    if node.get("default") is not None:
        schema["default"] = node["default"]
    if "items" in node:
        schema["items"] = _structural(node["items"], definitions)
    if "properties" in node:
        schema["properties"] = {name: _structural(field, definitions) for name, field in node["properties"].items()}
        computed = {name for name, field in node["properties"].items() if field.get("readOnly")}
        schema["required"] = [name for name in node.get("required", []) if name not in computed]
        if not schema["required"]:
            del schema["required"]
        if "default" in schema:
            # In full: the API server holds the rules of a type against its default before the fields' own fill it.
            fields = schema["properties"].items()
            schema["default"] = {name: field["default"] for name, field in fields if "default" in field}
    elif node.get("additionalProperties"):
        schema["additionalProperties"] = _structural(node["additionalProperties"], definitions)
    elif node.get("patternProperties"):
        # What the keys look like cannot be said here; the operator looks at them.
        (values,) = node["patternProperties"].values()
        schema["additionalProperties"] = _structural(values, definitions)
    return schema


def resolved(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    """The node with references followed and `null` taken away: an optional field is one that may be absent.

    What stands beside a reference (a description, a default) goes before what the reference says.
    """
    while True:
        if "$ref" in node:
            inner = definitions[node["$ref"].rsplit("/", 1)[-1]]
        elif len(choices := [choice for choice in node.get("anyOf", ()) if choice.get("type") != "null"]) == 1:
            (inner,) = choices
        else:
            return {**node, "anyOf": choices} if choices else node
        node = {**inner, **{key: value for key, value in node.items() if key not in ("$ref", "anyOf")}}


def _number_or_string(node: Mapping[str, Any], choices: list[Schema]) -> Schema:
    """The one union that a structural schema knows. A bound holds for the number, a pattern for the text.

    Of numbers with a fraction it knows none: such a field has no type. An object or a list is kept out by what it may
    not hold, and an empty one by the operator.
    """
    if [choice.get("type") for choice in choices] not in (["integer", "string"], ["number", "string"]):
        raise TypeError(f"no structural schema for this union, only for a number and a string: {choices}")
    number, text = choices
    schema = {key: node[key] for key in ("description", "default") if node.get(key) is not None}
    schema |= {key: number[key] for key in ("minimum", "maximum") if key in number}
    pattern = text.get("pattern") or f"^({'|'.join(text['enum'])})$"
    if number["type"] == "number":
        return schema | {"pattern": pattern} | NO_PARTS
    return schema | {
        "x-kubernetes-int-or-string": True,
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "pattern": pattern,
    }
