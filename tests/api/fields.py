"""A type's fields by their paths in a manifest, and what each may be: to hold two types to each other."""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from trainserve.api.base import MAX_COUNT

BOUNDS = ("type", "enum", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")


def resolved(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema with its reference followed and null taken away."""
    choices = [choice for choice in schema.get("anyOf", ()) if choice != {"type": "null"}]
    if len(choices) == 1:
        schema = {**choices[0], **{key: value for key, value in schema.items() if key != "anyOf"}}
    if "$ref" in schema:
        schema = {**definitions[schema["$ref"].rsplit("/", 1)[-1]], **schema}
    return schema


def fields(model: type[BaseModel]) -> dict[str, dict[str, Any]]:
    """Every field by its path, sections included."""
    whole = model.model_json_schema(by_alias=True)

    def below(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
        for name, inner in schema.get("properties", {}).items():
            field = resolved(inner, whole.get("$defs", {}))
            yield f"{path}{name}", field
            yield from below(field, f"{path}{name}.")

    return dict(below(whole, ""))


def bounds(field: dict[str, Any]) -> dict[str, Any]:
    """What the field may be. Where it has no upper bound of its own, Kubernetes' integers have one."""
    found = {key: field[key] for key in BOUNDS if key in field and (key, field[key]) != ("maximum", MAX_COUNT)}
    return found | ({"items": bounds(field["items"])} if "items" in field else {})
