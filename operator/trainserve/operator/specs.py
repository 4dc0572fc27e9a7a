"""Parsing of a stored object into its spec, or into a list of all its problems in the manifest's own terms.

The CRD's schema refuses most invalid manifests at `kubectl apply`. This is the final check, for servers without CEL and
for objects that were stored before a rule existed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import ValidationError

from trainserve.api import modelserve, trainjob
from trainserve.api.base import ApiType
from trainserve.api.modelserve import ModelServeSpec
from trainserve.api.refusal import problems_of
from trainserve.api.scalars.names import OBJECT_NAME_PATTERN
from trainserve.api.trainjob import TrainJobSpec

Spec = TypeVar("Spec", bound=ApiType)


class InvalidSpec(ValueError):
    """The spec or the name of an object is invalid. One line per problem: path, value and what is allowed."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


def parse_trainjob(obj: Mapping[str, Any]) -> TrainJobSpec:
    """Return the spec of a TrainJob with its defaults filled in. Raises InvalidSpec."""
    children = "its pods are named <job>-<attempt>-<rank>, which may have 63"
    return _parse(obj, TrainJobSpec, _name_problems(obj, trainjob.NAME_LIMIT, children))


def parse_modelserve(obj: Mapping[str, Any]) -> ModelServeSpec:
    """Return the spec of a ModelServe with its defaults filled in. Raises InvalidSpec."""
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
