"""The formatter of pydantic's errors: the field as it is written, its value, and what is allowed.

The operator uses it to refuse objects, a training pod its configuration, and the serving side its settings.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Sequence
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

_SIGNS = {"greater_than": ">", "greater_than_equal": ">=", "less_than": "<", "less_than_equal": "<="}
_BOUNDS = ("gt", "ge", "lt", "le")
_SHOWN = 80
"""Characters of a value that a problem shows."""


def problems_of(error: ValidationError, model: type[BaseModel], place: str = "") -> list[str]:
    """Return one line per field: its path, its value and what is allowed.

    `place` is the path of the value that was parsed as `model`; empty for a whole file. Errors from several branches of
    a union about one field become one line.
    """
    by_path: dict[str, list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        by_path.setdefault(_path(detail["loc"], model, place), []).append(detail)
    return [_problem(path, details, model, place) for path, details in by_path.items()]


def guess(name: str, known: Iterable[str]) -> str:
    """Return `did you mean 'convnet'? `, ready to be followed by more; empty if no known name is close."""
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f"did you mean {' or '.join(map(repr, close))}? " if close else ""


def _problem(path: str, details: list[ErrorDetails], model: type[BaseModel], place: str) -> str:
    detail = details[0]
    match detail["type"]:
        case "json_invalid":
            return _at(path, detail["msg"])
        case "missing":
            return _at(path, "required")
        case "rule":
            # A whole spec or file is no value that a reader looks for.
            value = "" if path == place else f", but it is {_shown(detail['input'])}"
            return _at(path, f"{detail['msg']}{value}")
        case "value_error":
            words = str(detail["ctx"]["error"])
            return f"{path}.{words}" if path and re.match(r"[a-zA-Z.]+: ", words) else _at(path, words)
        case "extra_forbidden":
            *parents, name = detail["loc"]
            allowed = _fields(parents, model)
            closest = difflib.get_close_matches(str(name), allowed, n=1)
            return _at(path, f"unknown field; {guess(str(name), closest)}allowed: {', '.join(sorted(allowed))}")
        case _:
            wanted = " or ".join(dict.fromkeys(_wanted(detail) for detail in details))
            return _at(path or "config", f"{_shown(detail['input'])} is not allowed; {wanted}")


def _at(path: str, words: str) -> str:
    return f"{path}: {words}" if path else words


def _wanted(detail: ErrorDetails) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "model_type":
        return "must be an object"
    if kind == "literal_error":
        return f"must be {context['expected'].replace('True', 'true')}"
    if kind in _SIGNS:
        bound = next(context[name] for name in _BOUNDS if name in context)
        return f"must be {_SIGNS[kind]} {int(bound) if bound == int(bound) else bound}"
    return re.sub(r"^\w+ should", "must", detail["msg"])


def _shown(value: Any) -> str:
    try:
        text = json.dumps(value, default=str)
    except RecursionError:
        return "what is nested so deeply"
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def _path(location: Sequence[int | str], model: type[BaseModel], path: str) -> str:
    """Return the path as it is written, without the steps that pydantic adds to name the branch of a union."""
    type_: Any = model
    for step in location:
        if isinstance(step, int):
            path, type_ = f"{path}[{step}]", _inside(type_)
        elif (fields := _fields_of(type_)) is not None:
            path, type_ = f"{path}.{step}".removeprefix("."), fields.get(step)
        elif get_origin(type_) is dict:
            path, type_ = f"{path}.{step}".removeprefix("."), _inside(type_)
    return path


def _fields(location: Sequence[int | str], model: type[BaseModel]) -> list[str]:
    type_: Any = model
    for step in location:
        type_ = _inside(type_) if isinstance(step, int) else (_fields_of(type_) or {}).get(step)
    return list(_fields_of(type_) or ())


def _fields_of(type_: Any) -> dict[str, Any] | None:
    """Return the types of an API type's fields by their written names; None for any other type."""
    if isinstance(type_, type) and issubclass(type_, BaseModel):
        return {field.alias or name: _plain(field.annotation) for name, field in type_.model_fields.items()}
    return None


def _inside(type_: Any) -> Any:
    """Return the type of the items of a list or of the values of a map; None for any other type."""
    return _plain(get_args(type_)[-1]) if get_args(type_) else None


def _plain(annotation: Any) -> Any:
    """Return the type without `Annotated` and without `None`."""
    if get_origin(annotation) is Annotated:
        return _plain(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        choices = [choice for choice in get_args(annotation) if choice is not type(None)]
        return _plain(choices[0]) if len(choices) == 1 else annotation
    return annotation
