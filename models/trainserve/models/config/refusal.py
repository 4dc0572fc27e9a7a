"""pydantic's errors in this project's form: one line that names the field, its value and what is allowed."""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

_BOUNDS = {"greater_than": (">", "gt"), "greater_than_equal": (">=", "ge"), "less_than": ("<", "lt")}
_BOUNDS["less_than_equal"] = ("<=", "le")


def line(root: type[BaseModel], error: ErrorDetails) -> str:
    """One of pydantic's errors in this project's form: field, value, what is allowed."""
    field, kind, context = ".".join(map(str, error["loc"])), error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        siblings = _fields(root, error["loc"][:-1])
        return f"{field}: unknown field; allowed: {', '.join(siblings)}"
    if kind in ("rule", "reserved", "open", "quantity"):
        held = f", but it is {json.dumps(error['input'], default=str)}" if kind == "rule" else ""
        return f"{field}: {error['msg']}{held}" if field else str(error["msg"])
    if kind == "missing":
        return f"{field}: required"
    if kind == "value_error":
        return (
            f"{field}{'.' if field and _names_a_field(context['error']) else ': ' if field else ''}{context['error']}"
        )
    value = json.dumps(error["input"], default=str)
    if kind in _BOUNDS:
        sign, bound = _BOUNDS[kind]
        return f"{field}: {value} is not allowed; must be {sign} {context[bound]}"
    if kind == "literal_error":
        return f"{field}: {value} is not allowed; must be {context['expected'].replace('True', 'true')}"
    return f"{field or 'config'}: {value} is not allowed; {error['msg'].replace('Input should', 'must')}"


def _names_a_field(error: object) -> bool:
    return re.match(r"[a-zA-Z]+: ", str(error)) is not None


def _fields(root: type[BaseModel], section: tuple[int | str, ...]) -> list[str]:
    """The fields that a section below `root` has."""
    model = root
    for part in section:
        info = next(info for info in model.model_fields.values() if info.alias == part)
        model = next(kind for kind in _kinds(info.annotation) if isinstance(kind, type) and issubclass(kind, BaseModel))
    return [info.alias or name for name, info in model.model_fields.items()]


def _kinds(annotation: Any) -> tuple[Any, ...]:
    return getattr(annotation, "__args__", (annotation,))
