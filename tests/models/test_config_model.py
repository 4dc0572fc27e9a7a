"""`model` of the config: what it may be, and how each mistake is told."""

from typing import Any

import pytest

from trainserve.models.config import parse
from trainserve.models.errors import UserError

from .conftest import digits_config

KNOWN = "convnet, gru, lstm, resnet18, resnet34, resnet50, resnet9"
BAD = [
    ({"name": "convnte"}, f"model.name: 'convnte' is unknown; did you mean 'convnet'? known: {KNOWN}"),
    ({"name": "lsmt"}, f"model.name: 'lsmt' is unknown; did you mean 'lstm'? known: {KNOWN}"),
    ({"name": "rnn"}, "model.name: 'rnn' is refused: PyTorch exports a plain RNN with its number of time steps frozen"),
    ({"name": 3}, "model.name: 3 is not allowed; must be a valid string"),
    ({"name": "convnet", "options": []}, "model.options: [] is not allowed; must be a valid dictionary"),
    ({"name": "convnet", "depth": 3}, "model.depth: unknown field; allowed: name, "),
]


@pytest.mark.parametrize(("model", "text"), BAD, ids=[str(model)[:40] for model, _ in BAD])
def test_a_bad_model_is_refused_by_field_with_value_and_what_is_allowed(model: dict[str, Any], text: str) -> None:
    config = digits_config("/store")
    config["model"] = model
    with pytest.raises(UserError) as error:
        parse(config)
    assert str(error.value).startswith(text)
    assert "\n" not in str(error.value)
