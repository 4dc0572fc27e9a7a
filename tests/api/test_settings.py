"""`spec.triton` and what serving reads as its settings say the same: fields, bounds and defaults cannot drift apart."""

from typing import Any

import pytest
from hypothesis import given, settings
from pydantic import ValidationError

from tests.api.fields import bounds, fields
from tests.api.specs import WHOLE_SPECS, specs, specs_without_rules
from trainserve.api import duration
from trainserve.api.triton import Triton
from trainserve.serving.repository.settings import InvalidSettings, Settings, microseconds

THE_OPERATORS_ALONE = {"image"}
THE_SERVERS_ALONE = {"versionPolicy"}
"""A Deployment serves one version: there is nothing to choose."""

API, SERVING = fields(Triton), fields(Settings)


def test_both_have_the_same_fields() -> None:
    assert API.keys() - THE_OPERATORS_ALONE == SERVING.keys() - THE_SERVERS_ALONE


@pytest.mark.parametrize("path", sorted(path for path in API.keys() & SERVING.keys() if "properties" not in API[path]))
def test_a_field_has_the_same_bounds_and_default_in_both(path: str) -> None:
    assert bounds(API[path]) == bounds(SERVING[path])
    assert (API[path].get("default") or None) == (SERVING[path].get("default") or None)


@given(specs(Triton))
@settings(WHOLE_SPECS, max_examples=50)
def test_whatever_a_manifest_may_say_serving_reads(spec: dict[str, Any]) -> None:
    said = Triton.model_validate(spec).settings_json()
    read = Settings.of_json(said)
    assert read.model_dump(by_alias=True, exclude_none=True, exclude={"version_policy"}) == Triton.model_validate(
        spec
    ).model_dump(by_alias=True, exclude_none=True, exclude={"image"})


@given(specs_without_rules(Triton))
@settings(WHOLE_SPECS, max_examples=50)
def test_what_one_refuses_the_other_does_too(spec: dict[str, Any]) -> None:
    spec = {name: value for name, value in spec.items() if name not in THE_OPERATORS_ALONE}
    assert _accepts(Triton, spec) == _accepts(Settings, spec)


def _accepts(model: type[Triton] | type[Settings], spec: dict[str, Any]) -> bool:
    try:
        model.model_validate(spec)
    except (ValidationError, InvalidSettings):
        return False
    return True


@pytest.mark.parametrize("text", ["500us", "1.5ms", "0.0001us", "2s", "1m", "1h", "999999999.999999999h"])
def test_a_duration_is_as_long_in_both(text: str) -> None:
    assert microseconds(text) == duration.microseconds(text)
