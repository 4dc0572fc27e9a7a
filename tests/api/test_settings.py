"""`spec.triton` equals the settings that serving parses."""

from typing import Any

from hypothesis import given, settings

from tests.api.specs import WHOLE_SPECS, specs
from trainserve.api.triton import Triton
from trainserve.serving.repository.settings import Settings


@given(specs(Triton))
@settings(WHOLE_SPECS, max_examples=50)
def test_whatever_a_manifest_may_say_serving_reads(spec: dict[str, Any]) -> None:
    said = Triton.model_validate(spec).settings_json()
    read = Settings.of_json(said)
    assert read.model_dump(by_alias=True, exclude_none=True, exclude={"version_policy"}) == Triton.model_validate(
        spec
    ).model_dump(by_alias=True, exclude_none=True, exclude={"image"})
