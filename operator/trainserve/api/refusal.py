"""The one formatter of pydantic's errors: the field as it is written, its value, and what is allowed."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Sequence
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails


def problems_of(error: ValidationError, model: type[BaseModel], place: str) -> list[str]:
    """One line per field of what stands at `place`; what the branches of a union say of one field becomes one line."""
    by_path: dict[str, list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        by_path.setdefault(_path(detail["loc"], model, place), []).append(detail)
    return [_problem(path, details, model) for path, details in by_path.items()]


def _problem(path: str, details: list[ErrorDetails], model: type[BaseModel]) -> str:
    detail = details[0]
    match detail["type"]:
        case "json_invalid":
            return f"{path}: {detail['msg']}"
        case "missing":
            return f"{path}: is required"
        case "rule":
            # The whole spec is no value that a reader looks for.
            value = "" if path == "spec" else f", but it is {_shown(detail['input'])}"
            return f"{path}: {detail['msg']}{value}"
        case "extra_forbidden":
            *parents, name = detail["loc"]
            allowed = _fields(parents, model)
            near = difflib.get_close_matches(str(name), allowed, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            return f"{path}: unknown field; {hint}allowed here: {', '.join(sorted(allowed))}"
        case _:
            wanted = " or ".join(dict.fromkeys(_wanted(detail) for detail in details))
            return f"{path}: {_shown(detail['input'])} {wanted}"


def _wanted(detail: ErrorDetails) -> str:
    if detail["type"] == "model_type":
        return "must be an object"
    return re.sub(r"^(Input|String|List) should", "must", detail["msg"])


def _shown(value: Any) -> str:
    try:
        text = json.dumps(value, default=str)
    except RecursionError:
        return "what is nested so deeply"
    return text if len(text) <= 80 else f"{text[:77]}..."


def _path(location: Sequence[int | str], model: type[BaseModel], path: str) -> str:
    """The path in the manifest; what pydantic adds to name the branch of a union is left out."""
    type_: Any = model
    for step in location:
        if isinstance(step, int):
            path, type_ = f"{path}[{step}]", _inside(type_)
        elif (fields := _fields_of(type_)) is not None:
            path, type_ = f"{path}.{step}", fields.get(step)
        elif get_origin(type_) is dict:
            path, type_ = f"{path}.{step}", _inside(type_)
    return path


def _fields(location: Sequence[int | str], model: type[BaseModel]) -> list[str]:
    type_: Any = model
    for step in location:
        type_ = _inside(type_) if isinstance(step, int) else (_fields_of(type_) or {}).get(step)
    return list(_fields_of(type_) or ())


def _fields_of(type_: Any) -> dict[str, Any] | None:
    """Types of an API type's fields by their names in the manifest; none for anything else."""
    if isinstance(type_, type) and issubclass(type_, BaseModel):
        return {field.alias or name: _plain(field.annotation) for name, field in type_.model_fields.items()}
    return None


def _inside(type_: Any) -> Any:
    """What a list or a map holds."""
    return _plain(get_args(type_)[-1]) if get_args(type_) else None


def _plain(annotation: Any) -> Any:
    """The type without `Annotated` and without `None`."""
    if get_origin(annotation) is Annotated:
        return _plain(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        choices = [choice for choice in get_args(annotation) if choice is not type(None)]
        return _plain(choices[0]) if len(choices) == 1 else annotation
    return annotation
