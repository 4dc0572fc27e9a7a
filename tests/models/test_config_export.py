"""`export` and `gates` in CONFIG.json: what is allowed, and how a wrong value is refused."""

from typing import Any

import pytest

from trainserve.models.config import parse
from trainserve.models.errors import UserError


def config(section: str, fields: dict[str, Any]) -> dict[str, Any]:
    return {"model": {"name": "convnet"}, "dataset": {"name": "digits"}, section: fields}


@pytest.mark.parametrize(
    ("section", "fields", "line"),
    [
        ("export", {"opset": 17}, "export.opset: 17 is not allowed; must be >= 18"),
        ("export", {"opset": 21}, "export.opset: 21 is not allowed; must be <= 20"),
        ("export", {"opset": 18.5}, "export.opset: 18.5 is not allowed; must be a valid integer"),
        ("export", {"precision": "fp64"}, 'export.precision: "fp64" is not allowed; must be '),
        ("export", {"dynamicBatch": False}, "export.dynamicBatch: false is not allowed; must be true"),
        ("export", {"input": "bytes"}, "export.input: \"bytes\" is not allowed; must be 'images' or 'tensor'"),
        ("export", {"topK": 0}, "export.topK: 0 is not allowed; must be >= 1"),
        ("export", {"topK": "5"}, 'export.topK: "5" is not allowed; must be a valid integer'),
        ("export", {"parity": {"rtol": -1e-3}}, "export.parity.rtol: -0.001 is not allowed; must be >= 0"),
        ("export", {"parity": {"atol": 2}}, "export.parity.atol: 2 is not allowed; must be <= 1"),
        (
            "export",
            {"topk": 5},
            "export.topk: unknown field; did you mean 'topK'? "
            "allowed: dynamicBatch, input, opset, parity, precision, topK",
        ),
        ("gates", {"minAccuracy": 1.5}, "gates.minAccuracy: 1.5 is not allowed; must be <= 1"),
        ("gates", {"maxLoss": -0.1}, "gates.maxLoss: -0.1 is not allowed; must be >= 0"),
        ("gates", {"maxLoss": float("inf")}, "gates.maxLoss: Infinity is not allowed; must be a finite number"),
        ("gates", {"maxAccuracyDrop": 1.01}, "gates.maxAccuracyDrop: 1.01 is not allowed; must be <= 1"),
        (
            "gates",
            {"maxDrop": 0.1},
            "gates.maxDrop: unknown field; did you mean 'maxAccuracyDrop'? "
            "allowed: maxAccuracyDrop, maxLoss, minAccuracy",
        ),
        ("gates", {"minAccuracy": "high"}, 'gates.minAccuracy: "high" is not allowed; must be a valid number'),
    ],
)
def test_a_value_that_is_not_allowed_is_refused_in_one_line(section: str, fields: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError) as refused:
        parse(config(section, fields))
    assert str(refused.value).startswith(line)
    assert "\n" not in str(refused.value)


def test_the_smallest_and_the_largest_values_are_taken() -> None:
    taken = parse(config("export", {"opset": 20, "topK": 1, "input": "tensor", "parity": {"rtol": 0, "atol": 1}}))
    assert (taken.export.top_k, taken.export.input, taken.export.parity.rtol) == (1, "tensor", 0)
