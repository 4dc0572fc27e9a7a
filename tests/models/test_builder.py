"""The network that a configuration requests, as a run builds and trains it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from trainserve.models import builder, zoo
from trainserve.models.config import load
from trainserve.models.data.watch import Watch
from trainserve.models.errors import UserError

from .conftest import Config, digits_config

SCRIPT = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, features, outputs):
        super().__init__()
        self.first = nn.Linear(features, 8)
        self.head = nn.Linear(8, outputs)

    def forward(self, images):
        if self.training and len(images) > most:
            raise ValueError(f"{len(images)} images are too many")
        return self.head(torch.relu(self.first(images.flatten(1))))

most = 1000

def network(shape, outputs, batch=1000):
    global most
    most = batch
    return Net(shape[0] * shape[1] * shape[2], outputs)
"""


def test_paths_are_relative_to_the_configs_folder_and_what_was_done_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "net.py").write_text(SCRIPT)
    weights = zoo.build(f"{tmp_path / 'net.py'}:network", {}, (4, 4, 1), 3)
    torch.save(weights.state_dict(), tmp_path / "weights.pt")
    config = digits_config("/store")
    config["model"] = {"script": "net.py:network", "pretrained": {"path": "weights.pt"}, "freeze": ["first.*"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    monkeypatch.chdir("/")
    said: list[str] = []
    loaded = load(tmp_path / "config.json")
    network = builder.build(loaded.model, loaded.folder, (4, 4, 1), 2, Watch(said.append))
    assert said == [
        f"pretrained: 2 tensors from {tmp_path}/weights.pt; the head head has another size there and is newly "
        "initialised",
        "frozen: 136 of 154 parameters in 2 tensors",
    ]
    assert torch.equal(network.get_parameter("first.weight"), weights.get_parameter("first.weight"))


def test_a_script_without_a_function_is_not_built_here(tmp_path: Path) -> None:
    config = digits_config("/store", model={"name": None, "script": "net.py"})
    (tmp_path / "config.json").write_text(json.dumps(config))
    loaded = load(tmp_path / "config.json")
    with pytest.raises(UserError, match=r'"net.py" is a whole script; a network is built by "net.py:function"$'):
        builder.build(loaded.model, loaded.folder, (4, 4, 1), 2, Watch())


def test_the_users_network_is_trained_exported_and_checked_like_any_other(
    execute: Callable[[Config], dict[str, Any]], stripes: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "net.py").write_text(SCRIPT)
    config = digits_config(tmp_path / "store", dataset={"name": None, "path": str(stripes())}, output=None)
    config["model"] = {"script": f"{tmp_path / 'net.py'}:network"}
    config["trainer"] |= {"epochs": 30, "batchSize": 16, "learningRate": 0.01}
    assert execute(config)["result"]["accuracy"] > 0.95


def test_what_goes_wrong_in_the_users_network_while_it_trains_names_the_line(
    execute: Callable[[Config], dict[str, Any]], stripes: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "net.py").write_text(SCRIPT)
    config = digits_config(tmp_path / "store", dataset={"name": None, "path": str(stripes())}, output=None)
    config["model"] = {"script": f"{tmp_path / 'net.py'}:network", "options": {"batch": 7}}
    with pytest.raises(UserError, match=r"^model\.script: net\.py, line 13: ValueError: \d+ images are too many$"):
        execute(config)
