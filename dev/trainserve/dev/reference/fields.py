"""The fields of a type with the facts that a reference lists, read from the type's JSON schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel

from trainserve.api.scalars import address, names
from trainserve.dev.reference.markdown import code
from trainserve.operator.schema import resolved

Node = Mapping[str, Any]
Mode = Literal["validation", "serialization"]

_TYPES = {"integer": "integer", "number": "number", "string": "string", "boolean": "boolean"}
_FORMS = {
    names.NAME_PATTERN: "lowercase letters, digits and `-`",
    names.OBJECT_NAME_PATTERN: "lowercase letters, digits and `-`, a letter first",
    names.LABEL_KEY_PATTERN: "a label's key",
    names.LABEL_VALUE_PATTERN: "a label's value",
    address.DIGEST_PATTERN: "`sha256:` and 64 hexadecimal digits",
}
"""Patterns that are easier to read as words."""
_LONGEST_PATTERN = 60
"""Maximum length in characters of a pattern that is shown; a longer one says less than description and example."""


@dataclass(frozen=True)
class Field:
    """A field that is not an object with its own section."""

    path: str
    """Full path, such as spec.trainer.epochs; `[]` stands for each item of a list."""
    facts: tuple[str, ...]
    """Type, unit, bounds and default, as Markdown."""
    meaning: str
    example: Any
    """A value that the field accepts; None if the metadata has none and the type suggests none."""

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2]


@dataclass(frozen=True)
class Section:
    """The fields of one object."""

    path: str
    type: str
    """Name of the class that defines it."""
    facts: tuple[str, ...]
    """Whether it is an object or a list of objects, the list's bounds, and whether it is required or its default."""
    text: str
    rules: tuple[str, ...]
    """Validation rules across its fields, as messages."""
    fields: tuple[Field, ...]


def sections(model: type[BaseModel], path: str, mode: Mode = "validation") -> Iterator[Section]:
    """Yield the object of type `model` at `path`, then the objects in it, depth first.

    `mode` "serialization" yields it as written, with computed fields and without defaults.
    """
    schema = model.model_json_schema(by_alias=True, mode=mode)
    yield from _Walk(schema.get("$defs", {}), mode).section({**schema, "title": model.__name__}, path, ())


@dataclass(frozen=True)
class _Walk:
    definitions: Node
    mode: Mode

    def section(self, node: Node, path: str, facts: tuple[str, ...]) -> Iterator[Section]:
        fields, below = [], []
        required = node.get("required", ())
        for name, raw in node["properties"].items():
            inner, place, state = resolved(raw, self.definitions), f"{path}.{name}", self._state(name, raw, required)
            if "properties" in inner:
                below.append((inner, place, ("object", *state)))
            elif "properties" in (item := resolved(inner.get("items", {}), self.definitions)):
                text = inner.get("description") or item.get("description", "")
                listed = ("list of objects", *_size(inner, "Items", "items"), *state)
                below.append(({**item, "description": text}, f"{place}[]", listed))
            else:
                fields.append(self._field(inner, place, state))
        rules = tuple(rule["message"] for rule in node.get("x-kubernetes-validations", ()))
        yield Section(path, node["title"], facts, node.get("description", ""), rules, tuple(fields))
        for inner, place, state in below:
            yield from self.section(inner, place, state)

    def _state(self, name: str, raw: Node, required: Any) -> tuple[str, ...]:
        """Return whether a field is required, or its default; nothing for a field that only the operator writes."""
        if self.mode == "serialization":
            return ()
        if name in required:
            return ("required",)
        default = raw.get("default")
        if default is None:
            return ("optional",)
        return () if isinstance(default, dict) else (f"default {code(_literal(default))}",)

    def _field(self, node: Node, path: str, state: tuple[str, ...]) -> Field:
        unit = node.get("unit")
        facts = (self._type(node), *([unit] if unit else []), *self._bounds(node), *state)
        return Field(path, facts, node.get("description", ""), _example(node))

    def _type(self, node: Node) -> str:
        if node.get("format") == "date-time":
            return "time (RFC 3339)"
        if "const" in node:
            return code(node["const"])
        if "enum" in node:
            return f"one of {', '.join(code(value) for value in node['enum'])}"
        if "anyOf" in node:
            return " or ".join(dict.fromkeys(self._type(resolved(each, self.definitions)) for each in node["anyOf"]))
        match node.get("type"):
            case "array":
                return f"list of {self._type(resolved(node['items'], self.definitions))}s"
            case "object":
                values = self._values(node)
                named = "any value" if values is None or "type" not in values else f"{self._type(values)}s"
                return f"map of strings to {named}"
            case kind:
                return _TYPES[str(kind)]

    def _values(self, node: Node) -> Node | None:
        values = node.get("additionalProperties") or next(iter(node.get("patternProperties", {}).values()), None)
        return resolved(values, self.definitions) if isinstance(values, dict) else None

    def _bounds(self, node: Node) -> Iterator[str]:
        if "anyOf" in node:
            for each in node["anyOf"]:
                yield from self._bounds(each)
            return
        if number := _range(node):
            yield number
        yield from _size(node, "Length", "characters")
        yield from _size(node, "Items", "items")
        yield from _size(node, "Properties", "entries")
        pattern = node.get("pattern")
        if pattern in _FORMS:
            yield _FORMS[pattern]
        elif pattern and "unit" not in node and len(pattern) <= _LONGEST_PATTERN:
            yield f"matches {code(pattern)}"
        for inside in (node.get("items"), self._values(node)):
            if isinstance(inside, dict) and "x-kubernetes-preserve-unknown-fields" not in inside:
                yield from (f"each {bound}" for bound in self._bounds(resolved(inside, self.definitions)))


def _range(node: Node) -> str | None:
    low, high = node.get("minimum"), node.get("maximum")
    above, below = node.get("exclusiveMinimum"), node.get("exclusiveMaximum")
    if low is not None and high is not None:
        return f"{low} to {high}"
    words = (("at least", low), ("greater than", above), ("at most", high), ("less than", below))
    return " and ".join(f"{word} {bound}" for word, bound in words if bound is not None) or None


def _size(node: Node, of: str, unit: str) -> Iterator[str]:
    low, high = node.get(f"min{of}"), node.get(f"max{of}")
    if low is not None and low == high:
        yield f"{low} {unit}"
    elif low is not None and high is not None:
        yield f"{low} to {high} {unit}"
    elif high is not None:
        yield f"at most {high} {unit}"
    elif low:
        yield "not empty"


def _example(node: Node) -> Any:
    """Return the example in the metadata, else, for an enum or boolean, a value other than the default."""
    if node.get("examples"):
        return node["examples"][0]
    if "enum" in node:
        return next((value for value in node["enum"][::-1] if value != node.get("default")), None)
    return not node.get("default") if node.get("type") == "boolean" else None


def _literal(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
