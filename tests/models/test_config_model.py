"""`model` of the configuration: allowed values, and the message for each mistake."""

from typing import Any

import pytest

from trainserve.models.config import parse
from trainserve.models.errors import UserError

from .conftest import digits_config

KNOWN = "convnet, gru, lstm, resnet18, resnet34, resnet50, resnet9, timm/<name>"
BAD = [
    ({"name": "convnte"}, f"model.name: 'convnte' is unknown; did you mean 'convnet'? known: {KNOWN}"),
    ({"name": "lsmt"}, f"model.name: 'lsmt' is unknown; did you mean 'lstm'? known: {KNOWN}"),
    ({"name": "rnn"}, "model.name: 'rnn' is refused: PyTorch exports a plain RNN with its number of time steps frozen"),
    ({"name": "tim/resnet18"}, "model.name: 'tim/resnet18' is unknown; did you mean 'resnet18' or "),
    ({"name": "timm/"}, "model.name: 'timm/' is unknown; did you mean 'timm/<name>'"),
    ({"name": 3}, "model.name: 3 is not allowed; must be a valid string"),
    ({"name": "convnet", "options": []}, "model.options: [] is not allowed; must be a valid dictionary"),
    (
        {"name": "convnet", "depth": 3},
        "model.depth: unknown field; allowed: args, env, freeze, name, options, pretrained, script",
    ),
    ({}, "model: exactly one of name and script is required"),
    ({"name": "convnet", "script": "net.py:build"}, "model: exactly one of name and script is required"),
    ({"script": "net.txt"}, 'model.script: "net.txt" is not allowed; must be "path.py:function"'),
    ({"script": "net.py:"}, 'model.script: "net.py:" is not allowed; must be "path.py:function"'),
    ({"script": "net.py:a b"}, 'model.script: "net.py:a b" is not allowed; must be "path.py:function"'),
    ({"script": 3}, "model.script: 3 is not allowed; must be a valid string"),
    ({"name": "convnet", "pretrained": {}}, "model.pretrained: one of path and uri is required"),
    (
        {"name": "convnet", "pretrained": {"uri": "pvc://claim/w.pt"}},
        "model.pretrained.uri: 'pvc://claim/w.pt' is read where it is mounted; path must say where that is",
    ),
    (
        {"name": "convnet", "pretrained": {"uri": "ftp://host/w.pt"}},
        "model.pretrained.uri: 'ftp://host/w.pt' is not allowed; must begin with s3://, https:// or file://",
    ),
    ({"name": "convnet", "pretrained": {"uri": "https://me:secret@host/w.pt"}}, "model.pretrained.uri: a user or pass"),
    ({"name": "convnet", "pretrained": "w.pt"}, 'model.pretrained: "w.pt" is not allowed; '),
    ({"name": "convnet", "pretrained": {"path": ""}}, 'model.pretrained.path: "" is not allowed; '),
    ({"name": "convnet", "pretrained": {"path": "w", "digest": "md5:0"}}, 'model.pretrained.digest: "md5:0" is not '),
    ({"name": "convnet", "pretrained": {"path": "w", "sha": "0"}}, "model.pretrained.sha: unknown field; allowed: "),
    ({"name": "convnet", "freeze": "layer1.*"}, 'model.freeze: "layer1.*" is not allowed; must be a valid list'),
    ({"name": "convnet", "freeze": ["a", 1]}, "model.freeze[1]: 1 is not allowed; must be a valid string"),
    ({"name": "convnet", "freeze": [""]}, 'model.freeze[0]: "" is not allowed; '),
]


@pytest.mark.parametrize(("model", "text"), BAD, ids=[str(model)[:40] for model, _ in BAD])
def test_a_bad_model_is_refused_by_field_with_value_and_what_is_allowed(model: dict[str, Any], text: str) -> None:
    config = digits_config("/store")
    config["model"] = model
    with pytest.raises(UserError) as error:
        parse(config)
    assert str(error.value).startswith(text)
    assert "\n" not in str(error.value)
