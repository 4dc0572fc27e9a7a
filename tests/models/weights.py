"""A small network, and its weights in the formats of different files."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trainserve.models import pretrained, zoo

SHAPE = (28, 28, 1)


def load(network: nn.Module, path: Path) -> str:
    return pretrained.load(network, path, str(path))


def convnet(outputs: int = 10, hidden: int = 8, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return zoo.build("convnet", {"channels": 4, "hidden": hidden}, SHAPE, outputs)


def contiguous(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.contiguous() for name, value in network.state_dict().items()}


def same(one: nn.Module, other: nn.Module, *but: str) -> bool:
    theirs = other.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in one.state_dict().items() if name not in but)


def lightning(weights: dict[str, Tensor]) -> dict[str, Any]:
    """Return what Lightning 2.6's ModelCheckpoint stores, with `weights` as the module's state."""
    best = {"best_model_score": torch.tensor(0.5), "best_model_path": "epoch=2.ckpt", "best_k_models": {}}
    return {
        "epoch": 3,
        "global_step": 90,
        "pytorch-lightning_version": "2.6.6",
        "state_dict": weights,
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 3}}}},
        "callbacks": {"ModelCheckpoint{'monitor': 'loss'}": best},
        "optimizer_states": [{"state": {0: {"step": torch.tensor(90.0)}}, "param_groups": [{"lr": 0.1}]}],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": {"lr": 0.1},
    }
