"""`energy` and `log`: what is refused, and what is accepted."""

from typing import Any

import pytest

from trainserve.models.config import parse
from trainserve.models.errors import UserError

from .conftest import digits_config

BAD = [
    ("energy", "gridIntensity", -1, "energy.gridIntensity: -1 is not allowed; must be >= 0"),
    ("energy", "gridIntensity", 10_001, "energy.gridIntensity: 10001 is not allowed; must be <= 10000"),
    ("energy", "gridIntensity", "55", 'energy.gridIntensity: "55" is not allowed; must be a valid number'),
    ("energy", "gridIntensity", float("inf"), "energy.gridIntensity: Infinity is not allowed; must be a finite number"),
    (
        "energy",
        "intensity",
        55,
        "energy.intensity: unknown field; did you mean 'gridIntensity'? allowed: grid",
    ),
    ("log", "format", "yaml", "log.format: \"yaml\" is not allowed; must be 'auto' or 'json'"),
    ("log", "format", None, "log.format: null is not allowed; must be 'auto' or 'json'"),
    ("log", "level", "debug", "log.level: unknown field; allowed: format"),
]


@pytest.mark.parametrize(("section", "field", "value", "text"), BAD, ids=[f"{row[1]}={row[2]!r}" for row in BAD])
def test_a_bad_field_is_refused_by_name_with_value_and_what_is_allowed(
    section: str, field: str, value: Any, text: str
) -> None:
    with pytest.raises(UserError) as error:
        parse(digits_config("/store", **{section: {field: value}}))
    assert str(error.value).startswith(text)


def test_without_them_energy_has_no_intensity_and_the_form_follows_the_terminal() -> None:
    config = parse(digits_config("/store"))
    assert config.energy.grid_intensity is None
    assert config.log.format == "auto"


def test_the_intensity_is_part_of_the_spec_that_is_published() -> None:
    assert parse(digits_config("/store", energy={"gridIntensity": 55})).spec()["energy"] == {"gridIntensity": 55}
