"""Gates: which measured scores allow a model to be published, and the message for those that do not."""

from typing import Any

import pytest

from trainserve.models import gates
from trainserve.models.config import Gates
from trainserve.models.errors import GateNotMet, UserError
from trainserve.models.gates import Scores

NAN = float("nan")


@pytest.mark.parametrize(
    ("asked", "trained", "exported"),
    [
        ({}, Scores(0.1, 9.0), None),
        ({}, Scores(None, None), None),
        ({"minAccuracy": 0.95}, Scores(0.95, 0.1), None),
        ({"minAccuracy": 0.95}, Scores(0.94, 0.1), Scores(0.95, 0.1)),
        ({"maxLoss": 0.1}, Scores(0.9, 0.1), None),
        ({"maxLoss": 0.1}, Scores(None, 0.1), Scores(None, 0.1)),
        ({}, Scores(0.97, 0.1), Scores(0.96, 0.1)),
        ({}, Scores(0.97, 0.1), Scores(0.98, 0.1)),
        ({"maxAccuracyDrop": 0.5}, Scores(0.97, 0.1), Scores(0.47, 0.1)),
        ({"maxAccuracyDrop": 0.0}, Scores(0.97, 0.1), Scores(0.97, 0.1)),
    ],
)
def test_what_is_good_enough_passes(asked: dict[str, Any], trained: Scores, exported: Scores | None) -> None:
    gates.check(Gates.model_validate(asked), trained, exported)


@pytest.mark.parametrize(
    ("asked", "trained", "exported", "words"),
    [
        ({"minAccuracy": 0.95}, Scores(0.9499, 0.1), None, "gates.minAccuracy: accuracy 0.9499 is below 0.95"),
        ({"minAccuracy": 0.0}, Scores(NAN, NAN), None, "gates.minAccuracy: accuracy nan is below 0"),
        ({"minAccuracy": 0.5}, Scores(None, 0.1), None, "gates.minAccuracy: no accuracy was measured"),
        (
            {"minAccuracy": 0.95},
            Scores(0.955, 0.1),
            Scores(0.949, 0.1),
            "gates.minAccuracy: accuracy of the exported file 0.9490 is below 0.95",
        ),
        ({"maxLoss": 0.1}, Scores(0.9, 0.11), None, "gates.maxLoss: loss 0.11 is above 0.1"),
        ({"maxLoss": 0.1}, Scores(0.9, NAN), None, "gates.maxLoss: loss nan is above 0.1"),
        ({"maxLoss": 0.1}, Scores(0.9, None), None, "gates.maxLoss: no loss was measured"),
        (
            {"maxLoss": 0.1},
            Scores(None, 0.1),
            Scores(None, 0.2),
            "gates.maxLoss: loss of the exported file 0.2 is above 0.1",
        ),
        (
            {},
            Scores(0.97, 0.1),
            Scores(0.9589, 0.1),
            "gates.maxAccuracyDrop: accuracy 0.9589 of the exported file is 0.0111 below PyTorch's 0.9700; "
            "must be at most 0.01",
        ),
        ({"maxAccuracyDrop": 0.0}, Scores(0.97, 0.1), Scores(0.969, 0.1), "gates.maxAccuracyDrop: accuracy 0.9690"),
        ({"maxAccuracyDrop": 0.5}, Scores(0.97, 0.1), Scores(NAN, 0.1), "gates.maxAccuracyDrop: accuracy nan"),
    ],
)
def test_what_is_not_is_refused_by_its_gate(
    asked: dict[str, Any], trained: Scores, exported: Scores | None, words: str
) -> None:
    with pytest.raises(GateNotMet) as refused:
        gates.check(Gates.model_validate(asked), trained, exported)
    assert str(refused.value).startswith(words)


@pytest.mark.parametrize("gate", ["minAccuracy", "maxAccuracyDrop"])
def test_a_gate_on_the_accuracy_of_a_regression_is_refused_before_training(gate: str) -> None:
    asked = Gates.model_validate({gate: 0.25})
    gates.applicable(asked, "classification")
    with pytest.raises(UserError, match=rf"gates.{gate}: 0.25 is not allowed; a regression has no accuracy"):
        gates.applicable(asked, "regression")
