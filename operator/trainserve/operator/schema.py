"""Conversion of a pydantic type to the structural OpenAPI v3 schema that a CustomResourceDefinition requires.

The API server refuses much of pydantic's own JSON schema: references, `null` as a type, titles, closed objects.
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
    # A server drops deeper values, also from objects that it stored under another schema.
    "additionalProperties": {"type": "string"},
    "items": {"type": "string"},
}
"""Schema of a value without a type that is neither an object nor a list."""


def structural_schema(model: type[BaseModel], *, mode: Literal["validation", "serialization"] = "validation") -> Schema:
    """Return the schema of a type as it is read or, with `mode="serialization"`, as it is written, including computed
    fields."""
    schema = model.model_json_schema(by_alias=True, mode=mode)
    return _structural(schema, schema.get("$defs", {}))


def _structural(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> Schema:
    if node.get("x-kubernetes-preserve-unknown-fields"):
        return dict(node)  # already in this form: trainserve.api.open_fields
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
            # The whole default: the API server validates it against the type's rules before it adds those of fields.
            fields = schema["properties"].items()
            schema["default"] = {name: field["default"] for name, field in fields if "default" in field}
    elif node.get("additionalProperties"):
        schema["additionalProperties"] = _structural(node["additionalProperties"], definitions)
    elif node.get("patternProperties"):
        # A structural schema cannot restrict the keys; the operator checks them.
        (values,) = node["patternProperties"].values()
        schema["additionalProperties"] = _structural(values, definitions)
    return schema


def resolved(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the node with references followed and `null` removed: an optional field is one that may be absent.

    Keys beside a reference, such as a description or a default, take precedence over those of its target.
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
    """Return the schema of a union of a number and a string, with bounds for the number and a pattern for the string.

    A structural schema supports such a union only for integers. With a fractional number the field has no type:
    NO_PARTS excludes objects and lists that are not empty, and the operator refuses empty ones. Raises TypeError for
    any other union.
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
