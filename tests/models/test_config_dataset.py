"""`dataset`: every field out of range, of the wrong type or unknown is refused in one line."""

from typing import Any

import pytest

from trainserve.models.config import parse
from trainserve.models.errors import UserError

DIGITS: dict[str, Any] = {"name": "digits"}
FILE: dict[str, Any] = {"path": "/x.npz"}
BAD = [
    ({"name": "digit"}, "dataset.name: 'digit' is unknown; did you mean 'digits'? known: digits, fashion-mnist, synth"),
    ({"name": "imagenet"}, "dataset.name: 'imagenet' is unknown; "),
    ({"name": "fashion_mnist"}, "dataset.name: 'fashion_mnist' is unknown; did you mean 'fashion-mnist'? known: "),
    ({"name": 3}, "dataset.name: 3 is not allowed; must be a valid string"),
    ({}, "dataset: exactly one of name and path is required"),
    (DIGITS | FILE, "dataset: exactly one of name and path is required"),
    ({"path": ""}, 'dataset.path: "" is not allowed; '),
    (DIGITS | {"split": {"test": 0}}, "dataset.split.test: 0 is not allowed; must be > 0"),
    (DIGITS | {"split": {"test": 1}}, "dataset.split.test: 1 is not allowed; must be < 1"),
    (DIGITS | {"split": {"valid": 0.1}}, "dataset.split.valid: unknown field; allowed: test"),
    (DIGITS | {"format": "npz"}, "dataset.format: 'npz' is not allowed; digits is built in and has none"),
    (DIGITS | {"options": {"classes": 3}}, "dataset.options: classes is not allowed; digits takes none"),
    (DIGITS | {"task": "regression"}, "dataset.task: 'regression' is not allowed; digits has classes: classification"),
    (
        DIGITS | {"task": "ranking"},
        "dataset.task: \"ranking\" is not allowed; must be 'classification' or 'regression'",
    ),
    (FILE | {"format": "csv"}, "dataset.format: \"csv\" is not allowed; must be 'npz', 'images' or 'parquet'"),
    (DIGITS | {"size": 32}, "dataset.size: 32 is not allowed; must be [height, width] in pixels"),
    (DIGITS | {"size": [32]}, "dataset.size: [32] is not allowed; must be [height, width] in pixels"),
    (DIGITS | {"size": [32, 0]}, "dataset.size.1: 0 is not allowed; must be >= 1"),
    (DIGITS | {"size": [9000, 1]}, "dataset.size.0: 9000 is not allowed; must be <= 4096"),
    (DIGITS | {"size": [32.5, 1]}, "dataset.size.0: 32.5 is not allowed; must be a valid integer"),
    (FILE | {"options": []}, "dataset.options: [] is not allowed; must be a valid dictionary"),
    (FILE | {"labels": 3}, "dataset.labels: unknown field; allowed: name, path, uri, "),
]


@pytest.mark.parametrize(("dataset", "text"), BAD, ids=[str(dataset)[:50] for dataset, _ in BAD])
def test_a_bad_field_is_refused_by_name_with_value_and_what_is_allowed(dataset: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError) as error:
        parse({"model": {"name": "convnet"}, "dataset": dataset})
    assert str(error.value).startswith(text)
    assert "\n" not in str(error.value)
