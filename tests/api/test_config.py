"""A TrainJob and the CONFIG.json that its pod reads say the same: fields, bounds and defaults cannot drift apart."""

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from trainserve.api.base import MAX_COUNT
from trainserve.api.support import TRAINJOB_LIMITS
from trainserve.api.trainjob import Output, TrainJobSpec
from trainserve.models.config import Config

BOUNDS = ("type", "enum", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")

THE_PODS_ALONE = {"job", "store", "dataset.path", "model.pretrained.path", "checkpoint.folder"}
"""What the operator fills in."""
THE_OPERATORS_ALONE = {"policy", "resources", "workers", "model.image", "model.command"}


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


JOB, CONFIG = fields(TrainJobSpec), fields(Config)
LIMITED = {limit.field for limit in TRAINJOB_LIMITS if "." in limit.field}
SHARED = sorted((JOB.keys() & CONFIG.keys()) - LIMITED)


def alone(fields: dict[str, Any], exempt: set[str]) -> set[str]:
    return {path for path in fields if not any(path == name or path.startswith(f"{name}.") for name in exempt)}


def test_every_field_of_the_config_can_be_set_in_a_trainjob() -> None:
    assert alone(CONFIG, THE_PODS_ALONE) - JOB.keys() == set()


def test_every_field_of_a_trainjob_is_known_to_the_operator_or_to_the_pod() -> None:
    assert alone(JOB, THE_OPERATORS_ALONE) - CONFIG.keys() == set()


@pytest.mark.parametrize("path", [path for path in SHARED if "properties" not in CONFIG[path]])
def test_a_field_has_the_same_bounds_and_default_in_both(path: str) -> None:
    job, config = JOB[path], CONFIG[path]
    assert bounds(job) == bounds(config)
    assert (job.get("default") or None) == (config.get("default") or None)


def test_a_models_name_is_as_long_in_the_config_as_in_a_trainjob() -> None:
    config = CONFIG["output.model"]
    job = Output.model_json_schema()["properties"]["model"]
    assert {key: job[key] for key in ("pattern", "maxLength")} == {key: config[key] for key in ("pattern", "maxLength")}
