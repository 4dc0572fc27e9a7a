"""From an object as the API server holds it to its parsed spec, or to every problem in it, in the manifest's own terms.

The CRD's schema refuses most bad manifests at `kubectl apply`; this is the last word, for servers without CEL and for
objects that were stored before a rule existed.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from trainserve.api import modelserve, trainjob
from trainserve.api.base import OBJECT_NAME_PATTERN, ApiType
from trainserve.api.modelserve import ModelServeSpec
from trainserve.api.trainjob import TrainJobSpec

Spec = TypeVar("Spec", bound=ApiType)


class InvalidSpec(ValueError):
    """The object cannot be acted on as it stands. One line per problem: path, value and what is allowed."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


def parse_trainjob(obj: Mapping[str, Any]) -> TrainJobSpec:
    """The spec of a TrainJob with its defaults filled in; raises InvalidSpec."""
    children = "its pods are named <job>-<attempt>-<rank>, which may have 63"
    return _parse(obj, TrainJobSpec, _name_problems(obj, trainjob.NAME_LIMIT, children))


def parse_modelserve(obj: Mapping[str, Any]) -> ModelServeSpec:
    """The spec of a ModelServe with its defaults filled in; raises InvalidSpec."""
    children = "its ReplicaSets are named <serve>-<digest>-<hash>, which may have 63"
    return _parse(obj, ModelServeSpec, _name_problems(obj, modelserve.NAME_LIMIT, children))


def _parse(obj: Mapping[str, Any], model: type[Spec], problems: list[str]) -> Spec:
    try:
        spec = model.model_validate(obj.get("spec", {}))
    except ValidationError as error:
        raise InvalidSpec(problems + problems_of(error, model, "spec")) from None
    if problems:
        raise InvalidSpec(problems)
    return spec


def _name_problems(obj: Mapping[str, Any], limit: int, children: str) -> list[str]:
    name = obj.get("metadata", {}).get("name", "")
    problems = []
    if len(name) > limit:
        problems.append(f"metadata.name: {name!r} has {len(name)} characters, at most {limit} are allowed: {children}")
    if not re.fullmatch(OBJECT_NAME_PATTERN, name):
        problems.append(
            f"metadata.name: {name!r} must start with a lowercase letter, end with a letter or digit and hold only"
            " lowercase letters, digits and '-': a Service has the same name"
        )
    return problems


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
