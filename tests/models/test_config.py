"""Invalid configurations: a field that is out of range, of the wrong type or unknown is refused in one line."""

import json
from pathlib import Path
from typing import Any

import pytest

from trainserve.models.config import load, parse
from trainserve.models.errors import UserError

from .conftest import digits_config

BAD = [
    ("export.opset", 17, "export.opset: 17 is not allowed; must be >= 18"),
    ("export.opset", 21, "export.opset: 21 is not allowed; must be <= 20"),
    ("export.precision", "fp8", "export.precision: \"fp8\" is not allowed; must be 'fp32', 'fp16' or 'int8'"),
    ("export.dynamicBatch", False, "export.dynamicBatch: false is not allowed; must be true"),
    ("export.parity.rtol", -1, "export.parity.rtol: -1 is not allowed; must be >= 0"),
    ("export.parity.atol", 2, "export.parity.atol: 2 is not allowed; must be <= 1"),
    ("gates.minAccuracy", 1.5, "gates.minAccuracy: 1.5 is not allowed; must be <= 1"),
    ("gates.minAccuracy", -0.1, "gates.minAccuracy: -0.1 is not allowed; must be >= 0"),
    (
        "gates.minAcuracy",
        0.5,
        "gates.minAcuracy: unknown field; did you mean 'minAccuracy'? allowed: maxAcc",
    ),
    ("output.model", "Digits", 'output.model: "Digits" is not allowed; '),
    ("output.model", "../digits", 'output.model: "../digits" is not allowed; '),
    ("output.model", "d" * 41, f'output.model: "{"d" * 41}" is not allowed; '),
    ("job.attempt", 0, "job.attempt: 0 is not allowed; must be >= 1"),
    ("job.namespace", "a/b", 'job.namespace: "a/b" is not allowed; '),
    ("store.root", "", 'store.root: "" is not allowed; '),
    ("workers", {}, "workers: unknown field; allowed: checkpoint, dataset, energy, export, formatVersion, "),
    ("trainer", 5, "trainer: 5 is not allowed; "),
]


@pytest.mark.parametrize(("field", "value", "text"), BAD, ids=[f"{field}={value!r:.20}" for field, value, _ in BAD])
def test_a_bad_field_is_refused_by_name_with_value_and_what_is_allowed(field: str, value: Any, text: str) -> None:
    config = digits_config("/store")
    *sections, last = field.split(".")
    target = config
    for section in sections:
        target = target[section]
    target[last] = value
    with pytest.raises(UserError) as error:
        parse(config)
    assert str(error.value).startswith(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("section", ["model", "dataset"])
def test_a_missing_section_is_named(section: str) -> None:
    config = digits_config("/store")
    del config[section]
    with pytest.raises(UserError, match=rf"^{section}: required$"):
        parse(config)


def test_output_needs_a_store() -> None:
    config = digits_config("/store")
    del config["store"]
    with pytest.raises(UserError, match=r"^store: required when output is given$"):
        parse(config)


def test_the_contracts_example_is_taken_and_kept_as_the_spec() -> None:
    config = parse(digits_config("/store"))
    given = {"epochs": 5, "batchSize": 64, "optimizer": "adam", "learningRate": 0.001, "precision": "auto", "seed": 0}
    assert given.items() <= config.spec()["trainer"].items()
    assert "store" not in config.spec()


@pytest.mark.parametrize(
    ("content", "text"), [("", "not JSON"), ('{"a": ', "not JSON"), ("[]", r"config: \[\] is not")]
)
def test_a_file_that_is_no_config_is_named(tmp_path: Path, content: str, text: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(content)
    with pytest.raises(UserError, match=text):
        load(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config\.json: No such file or directory"):
        load(tmp_path / "config.json")


def test_json_is_what_a_message_shows_of_a_value() -> None:
    with pytest.raises(UserError) as error:
        parse(json.loads('{"model": {"name": "convnet"}, "dataset": {"name": "digits"}, "gates": [1, 2]}'))
    assert str(error.value).startswith("gates: [1, 2] is not allowed; ")
