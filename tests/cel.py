"""CEL as the API server evaluates it: Google's evaluator, through its official Python wrapper."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from cel_expr_python import cel


class CelError(Exception):
    """The expression cannot be evaluated; the message is the evaluator's."""


def evaluate(expression: str, variables: Mapping[str, Any]) -> Any:
    """Return the value of `expression`; its variables may have any type. Raises CelError."""
    value = _compiled(expression, frozenset(variables)).eval(data=dict(variables))
    if value.type() == cel.Type.ERROR:
        raise CelError(f"{expression}: {value.value()}")
    return value.plain_value()


@cache
def _compiled(expression: str, names: frozenset[str]) -> cel.Expression:
    return cel.NewEnv(variables=dict.fromkeys(names, cel.Type.DYN)).compile(expression)
