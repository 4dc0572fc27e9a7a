"""Open fields, whose names others define: arguments of a model, options of a data set, Triton's configuration.

Every user who may write an object writes them, and one operator reads those of all users. So they are bounded in count,
length and depth, both in the schema and here. A schema of Kubernetes cannot express "a scalar, or a list of scalars":
such a value has no type in the schema and the bounds of all types, each of which applies to values of its own type.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

MAX_FIELDS = 64
MAX_ITEMS = 256
MAX_TEXT = 4096
"""Characters of one option."""
MAX_BYTES = 64 * 1024
"""Of all open fields of one object together, as JSON."""
DEEPEST = 6
"""Objects and lists inside one another in the value of a field of Triton's configuration, whose own deepest is
`sequence_batching.state[].initial_state[].dims[]`. A list holds no list there."""

Schema = dict[str, Any]

_OPEN: Schema = {"x-kubernetes-preserve-unknown-fields": True, "nullable": True}
_PRUNED: Schema = {"type": "string"}
"""Of what is refused anyway: a server drops what lies deeper, also from objects that it stored under another schema."""


def _schema(text: int, fields: Schema | None, items: Schema | None) -> Schema:
    """Return the schema of a value without a type: a string of at most `text` characters, another scalar, an object or
    a list.

    `fields` is the schema of the values of an object, `items` that of the items of a list; None excludes them.
    """
    return (
        _OPEN
        | {"maxLength": text}
        | {"maxProperties": 0 if fields is None else MAX_FIELDS, "additionalProperties": fields or _PRUNED}
        | {"maxItems": 0 if items is None else MAX_ITEMS, "items": items or _PRUNED}
    )


def _nested(depth: int) -> tuple[Schema, Schema]:
    """Return the schemas of a field of Triton's configuration and of an item of a list in it, for that depth."""
    scalar = _schema(MAX_BYTES, None, None)
    field, item = scalar, scalar
    for _ in range(depth):
        field, item = _schema(MAX_BYTES, field, item), _schema(MAX_BYTES, field, None)
    return field, item


def _object(values: Schema) -> WithJsonSchema:
    return WithJsonSchema({"type": "object", "maxProperties": MAX_FIELDS, "additionalProperties": values})


def _checked(value: Callable[[Any, str], str | None]) -> AfterValidator:
    """Return a validator that refuses an object at the first value for which `value` returns a problem."""

    def check(fields: Mapping[str, Any]) -> Mapping[str, Any]:
        wrong = _too_many(fields, "") or next((said for name in fields if (said := value(fields[name], name))), None)
        if wrong is not None:
            raise PydanticCustomError("open", "{wrong}", {"wrong": wrong})
        return fields

    return AfterValidator(check)


def _too_many(fields: Mapping[str, Any], path: str) -> str | None:
    place = f" in {path}" if path else ""
    return f"must have at most {MAX_FIELDS} fields{place}, not {len(fields)}" if len(fields) > MAX_FIELDS else None


def _scalar_problem(value: Any, path: str, wanted: str) -> str | None:
    return None if value is None or isinstance(value, str | bool | int | float) else f"must hold {wanted} in {path}"


def _option_problem(value: Any, path: str) -> str | None:
    items = value if isinstance(value, list) else [value]
    if len(items) > MAX_ITEMS:
        return f"must have at most {MAX_ITEMS} items in {path}, not {len(items)}"
    if any(isinstance(item, str) and len(item) > MAX_TEXT for item in items):
        return f"must have at most {MAX_TEXT} characters in {path}"
    problems = (_scalar_problem(item, path, "a text, a number, true, false or a list of these") for item in items)
    return next((problem for problem in problems if problem), None)


def _nested_problem(value: Any, path: str) -> str | None:
    # Level by level and never into itself: what is looked at may be deeper than any stack.
    level: list[tuple[Any, str, bool]] = [(value, path, False)]
    for depth in range(DEEPEST + 1):
        below: list[tuple[Any, str, bool]] = []
        for found, place, in_list in level:
            if isinstance(found, dict) and depth < DEEPEST:
                if problem := _too_many(found, place):
                    return problem
                below += [(inner, f"{place}.{name}", False) for name, inner in found.items()]
            elif isinstance(found, list) and depth < DEEPEST and not in_list:
                if len(found) > MAX_ITEMS:
                    return f"must have at most {MAX_ITEMS} items in {place}, not {len(found)}"
                below += [(inner, f"{place}[]", True) for inner in found]
            elif problem := _scalar_problem(
                found, place, "nothing that Triton's own fields do not: they are not as deep"
            ):
                return problem
        level = below
    return None


Options = Annotated[
    dict[str, Any], _checked(_option_problem), _object(_schema(MAX_TEXT, None, _schema(MAX_TEXT, None, None)))
]
"""Scalars and lists of scalars, by name."""
Overrides = Annotated[dict[str, Any], _checked(_nested_problem), _object(_nested(DEEPEST)[0])]
"""Fields of a message in protobuf's JSON form."""
