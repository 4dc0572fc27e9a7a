"""Manifests that the API types accept, drawn by Hypothesis from the types themselves."""

from collections.abc import Iterator
from functools import cache
from random import Random
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from trainserve.api.base import ApiType

Schema = dict[str, Any]

WHOLE_SPECS = settings(
    suppress_health_check=[
        HealthCheck.large_base_example,  # the base example has a value for every field
        HealthCheck.data_too_large,
        HealthCheck.filter_too_much,
        HealthCheck.function_scoped_fixture,  # the API server keeps nothing from a dry run
    ],
)


def _subclasses(base: type[ApiType]) -> Iterator[type[ApiType]]:
    """Yield the API's own subclasses, at any depth; the pods' configuration subclasses some of them further."""
    for model in base.__subclasses__():
        if model.__module__.startswith("trainserve.api"):
            yield model
        yield from _subclasses(model)


@cache  # creating a strategy for every example would take ten times as long as the example
def specs(model: type[ApiType]) -> st.SearchStrategy[dict[str, Any]]:
    """Draw manifests of this type: every field within its bounds, optional fields present or not, all rules kept."""
    schema = model.model_json_schema(by_alias=True)
    return _accepted(model, schema, schema.get("$defs", {}))


@cache
def specs_without_rules(model: type[ApiType]) -> st.SearchStrategy[dict[str, Any]]:
    """Draw manifests of this type that may break the rules between its own fields."""
    schema = model.model_json_schema(by_alias=True)
    return _values(schema, schema.get("$defs", {}))


def _values(schema: Schema, definitions: dict[str, Schema]) -> st.SearchStrategy[Any]:
    match schema:
        case {"$ref": reference}:
            name = reference.rsplit("/", 1)[-1]
            (model,) = (model for model in _subclasses(ApiType) if model.__name__ == name)
            return _accepted(model, definitions[name], definitions)
        case {"anyOf": choices}:
            return st.one_of([_values(choice, definitions) for choice in choices if choice != {"type": "null"}])
        case {"const": value}:
            return st.just(value)
        case {"enum": values}:
            return st.sampled_from(values)
        case {"type": "boolean"}:
            return st.booleans()
        case {"type": "integer"}:
            return st.integers(schema.get("minimum"), schema.get("maximum", 2**31))
        case {"type": "number"}:
            low = schema.get("minimum", schema.get("exclusiveMinimum"))
            return st.floats(low, schema.get("maximum", schema.get("exclusiveMaximum", 1e6)))
        case {"type": "string", "pattern": pattern}:
            texts = st.from_regex(pattern, fullmatch=True, alphabet=st.characters(codec="ascii"))
            return texts.filter(lambda text: 0 < len(text) <= schema.get("maxLength", 10_000))
        case {"type": "string"}:
            # Never empty: an API server built from the sources of 1.20 with Go 1.19 treats an empty string as null.
            return st.text(min_size=1, max_size=min(schema.get("maxLength", 20), 20))
        case {"type": "array", "items": items}:
            return st.lists(_values(items, definitions), min_size=schema.get("minItems", 0), max_size=3)
        case {"type": "object", "properties": properties}:
            required = set(schema.get("required", ()))
            fields = {name: _values(field, definitions) for name, field in properties.items()}
            return st.fixed_dictionaries(
                {name: field for name, field in fields.items() if name in required},
                optional={name: field for name, field in fields.items() if name not in required},
            )
        case {"type": "object", "patternProperties": values}:
            ((pattern, inner),) = values.items()
            keys = st.from_regex(pattern, fullmatch=True, alphabet=st.characters(codec="ascii"))
            return st.dictionaries(keys.filter(lambda key: len(key) < 300), _values(inner, definitions), max_size=3)
        case {"type": "object", "additionalProperties": {"x-kubernetes-preserve-unknown-fields": True} as inner}:
            return st.dictionaries(st.text(max_size=5), _open(inner, 2), max_size=3)
        case {"type": "object", "additionalProperties": inner}:
            return st.dictionaries(st.text(min_size=1, max_size=20), _values(inner, definitions), max_size=3)
    raise TypeError(f"no strategy for {schema}")


def _accepted(model: type[ApiType], schema: Schema, definitions: dict[str, Schema]) -> st.SearchStrategy[Any]:
    """Draw a value for every field and keep a subset that satisfies the rules, which may require or exclude fields."""
    fields = {name: _values(field, definitions) for name, field in schema["properties"].items()}
    optional = sorted(fields.keys() - set(schema.get("required", ())))

    def keep(drawn: tuple[dict[str, Any], Random]) -> dict[str, Any] | None:
        values, random = drawn
        for _ in range(300):
            left_out = {name for name in optional if random.random() < 0.5}
            manifest = {name: value for name, value in values.items() if name not in left_out}
            if _accepts(model, manifest):
                return manifest
        return None

    drawn = st.tuples(st.fixed_dictionaries(fields), st.randoms(use_true_random=False))
    return drawn.map(keep).filter(lambda manifest: manifest is not None)


def _open(schema: Schema, depth: int) -> st.SearchStrategy[Any]:
    """Draw values of an untyped field, down to `depth`."""
    values: st.SearchStrategy[Any] = st.booleans() | st.integers(-(2**31), 2**31) | st.text(max_size=5)
    if depth and schema["maxItems"]:
        values |= st.lists(_open(schema["items"], depth - 1), max_size=2)
    if depth and schema["maxProperties"]:
        fields = _open(schema["additionalProperties"], depth - 1)
        values |= st.dictionaries(st.text(max_size=5), fields, max_size=2)
    return values


def _accepts(model: type[ApiType], manifest: Any) -> bool:
    try:
        model.model_validate(manifest)
    except ValidationError:
        return False
    return True
