"""Configurations across releases: older images accept a newer operator's, and newer images an older operator's.

`released/<release>.json` holds the JSON schemas of that release's configurations. When making a release, save its
schemas with `python -m tests.models.released RELEASE`.
"""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest
import yaml
from hypothesis import assume, given, reject, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from tests.api.specs import WHOLE_SPECS, specs
from tests.operator.support import SETTINGS, trainjob
from trainserve.api.base import ApiType
from trainserve.api.support import unsupported
from trainserve.api.trainjob import TrainJobSpec
from trainserve.models.config import Config, parse
from trainserve.models.errors import ConfigError
from trainserve.models.script.config import ScriptConfig, is_whole
from trainserve.models.script.config import parse as parse_script
from trainserve.operator.trainjob.config import run_config

ROOT = Path(__file__).parents[2]
KEPT = sorted((Path(__file__).parent / "released").glob("*.json"))
RELEASED = {path.stem: json.loads(path.read_text()) for path in KEPT}
TODAY: dict[str, type[BaseModel]] = {"config": Config, "script": ScriptConfig}
RELEASES = [(release, kind) for release in RELEASED for kind in TODAY]
Schema = dict[str, Any]


def kind_of(config: Any) -> str:
    return "script" if is_whole(config) else "config"


def written(spec: Schema) -> Schema:
    """Return the configuration that this operator writes for a spec."""
    return run_config(trainjob(), TrainJobSpec.model_validate(spec), 1, SETTINGS)


def refused(config: Schema, release: str) -> list[str]:
    """Return why a release's images would refuse a configuration; a schema contains no rules between fields."""
    validator = jsonschema.Draft202012Validator(RELEASED[release][kind_of(config)])
    return [error.message for error in validator.iter_errors(config)]


def resolved(schema: Schema, root: Schema) -> Schema:
    while "$ref" in schema or "anyOf" in schema:
        if "$ref" in schema:
            schema = root["$defs"][schema["$ref"].rsplit("/", 1)[-1]]
        else:
            schema = next(choice for choice in schema["anyOf"] if choice != {"type": "null"})
    return schema


def with_defaults(config: Any, schema: Schema, root: Schema) -> Any:
    """Return the configuration as an older operator wrote it: with every default of its release."""
    schema = resolved(schema, root)
    if not isinstance(config, dict) or "properties" not in schema:
        return config
    whole = dict(config)
    for name, field in schema["properties"].items():
        if name in whole:
            whole[name] = with_defaults(whole[name], field, root)
        elif field.get("default") is not None:
            whole[name] = with_defaults(deepcopy(field["default"]), field, root)
        elif "properties" in resolved(field, root) and "anyOf" not in field and name not in schema.get("required", ()):
            whole[name] = with_defaults({}, field, root)
    return whole


EXAMPLES = [
    manifest["spec"]
    for path in sorted((ROOT / "examples").rglob("*.yaml"))
    for manifest in yaml.safe_load_all(path.read_text())
    if isinstance(manifest, dict) and manifest.get("kind") == "TrainJob" and "command" not in manifest["spec"]["model"]
]


def test_there_are_examples_of_both_kinds() -> None:
    assert {kind_of(written(spec)) for spec in EXAMPLES} == {"config", "script"}


@pytest.mark.parametrize("release", RELEASED)
@pytest.mark.parametrize("spec", EXAMPLES, ids=[str(spec["model"])[:60] for spec in EXAMPLES])
def test_older_images_take_what_this_operator_writes_of_an_example(spec: Schema, release: str) -> None:
    assert refused(written(spec), release) == []


@pytest.mark.parametrize("release", RELEASED)
@pytest.mark.parametrize("spec", EXAMPLES, ids=[str(spec["model"])[:60] for spec in EXAMPLES])
def test_these_images_take_what_an_older_operator_wrote_and_read_the_same(
    spec: Schema, release: str, tmp_path: Path
) -> None:
    short = written(spec)
    schema = RELEASED[release][kind_of(short)]
    full = with_defaults(short, schema, schema)
    assert full["trainer"]["epochs"], "older operators wrote every default"
    read = parse_script if is_whole(short) else parse
    assert read(full, tmp_path).model_dump() == read(short, tmp_path).model_dump()


SECTIONS = {
    name: section
    for name, field in TrainJobSpec.model_fields.items()
    for section in (field.annotation, *get_args(field.annotation))
    if isinstance(section, type) and issubclass(section, ApiType) and name in Config.model_fields
}


@pytest.mark.parametrize("section", SECTIONS)
@settings(WHOLE_SPECS, max_examples=60)
@given(data=st.data())
def test_older_images_take_whatever_this_operator_writes_of_a_section_but_for_fields_that_they_do_not_know(
    section: str, data: st.DataObject
) -> None:
    spec = {"model": {"name": "convnet"}, "dataset": {"name": "digits"}, "output": {"model": "digits"}}
    spec[section] = data.draw(specs(SECTIONS[section]))
    try:
        assume(not unsupported(TrainJobSpec.model_validate(spec)))
    except ValidationError:
        reject()  # a rule between sections, such as that a whole script needs no data set
    config = written(spec)
    for release in RELEASED:
        validator = jsonschema.Draft202012Validator(RELEASED[release][kind_of(config)])
        other = [error for error in validator.iter_errors(config) if error.validator != "additionalProperties"]
        assert [error.message for error in other] == []


def default(field: Schema) -> Any:
    """Return the field's default without its None values; defaults from a factory are not in a schema."""
    value = field.get("default")
    return (
        {name: each for name, each in value.items() if each is not None} if isinstance(value, dict) else value
    ) or None


def narrower(old: Schema, new: Schema, place: str, roots: tuple[Schema, Schema]) -> list[str]:
    """Return the places where a field is missing, has another default, or accepts less than before."""
    found = []
    old, new = resolved(old, roots[0]), resolved(new, roots[1])
    for name, field in old.get("properties", {}).items():
        here = f"{place}.{name}"
        if name not in new.get("properties", {}):
            found.append(f"{here}: is gone")
            continue
        now = new["properties"][name]
        if default(field) != default(now):
            found.append(f"{here}: default {field.get('default')} became {now.get('default')}")
        found += narrower(field, now, here, roots)
    if missing := set(new.get("required", [])) - set(old.get("required", [])):
        found.append(f"{place}: {', '.join(sorted(missing))} became required")
    if "enum" in new and not set(old.get("enum", [old.get("const")])) <= set(new["enum"]):
        found.append(f"{place}: takes fewer words")
    for bound, sign in (("minimum", 1), ("exclusiveMinimum", 1), ("maximum", -1), ("exclusiveMaximum", -1)):
        if bound in new and (bound not in old or sign * new[bound] > sign * old[bound]):
            found.append(f"{place}: {bound} {old.get(bound)} became {new[bound]}")
    return found


@pytest.mark.parametrize(("release", "kind"), RELEASES)
def test_no_field_of_a_released_configuration_is_gone_or_means_something_else(release: str, kind: str) -> None:
    old, new = RELEASED[release][kind], TODAY[kind].model_json_schema()
    found = narrower(old, new, kind, (old, new))
    assert [each for each in found if ".topK: maximum" not in each] == [], "what every TrainJob is held to anyway"


def test_what_is_new_is_refused_by_its_name_and_with_both_versions() -> None:
    config = {"model": {"name": "convnet"}, "dataset": {"name": "digits"}}
    with pytest.raises(
        ConfigError, match=r"^trainer\.warmth: unknown field; .*; this is trainserve \d.* formatVersion 1$"
    ):
        parse({**config, "trainer": {"warmth": 3}})
    with pytest.raises(
        ConfigError, match=r"^formatVersion: 2 is not allowed; this is trainserve \d.* formatVersion 1$"
    ):
        parse({**config, "formatVersion": 2, "trainer": {"warmth": 3}})
