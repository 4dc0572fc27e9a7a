"""Networks that cannot be exported, or are exported wrongly, are detected before the first epoch, by layer."""

import copy
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trainserve.models import trial
from trainserve.models.errors import ParityFailed, RunFailed, UserError
from trainserve.models.network import Network
from trainserve.models.signature import signature

from . import small_run
from .conftest import digits_config
from .exporting import config, dataset, graph, made

DATA = dataset((14, 14, 3))


class Pooled(nn.Module):
    """Use a function of torch, not a module."""

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(images, 2, divisor_override=3)


class LastStep(nn.Module):
    """A recurrent network over the image's rows."""

    def __init__(self, cells: nn.Module) -> None:
        super().__init__()
        self.cells = cells

    def forward(self, images: Tensor) -> Tensor:
        steps: Tensor = self.cells(images.flatten(2))[0]
        return steps[:, -1]


class Packed(nn.Module):
    """A recurrent network over packed sequences: one step for each bright pixel of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.GRU(3, 5, batch_first=True)

    def forward(self, images: Tensor) -> Tensor:
        lengths = (images[:, 0] > 0).sum((1, 2)).clamp(min=1)
        steps = images.flatten(2).transpose(1, 2)
        packed = nn.utils.rnn.pack_padded_sequence(steps, lengths, batch_first=True, enforce_sorted=False)
        last: Tensor = self.cells(packed)[1][0]
        return last


class TwoRows(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.reshape(2, -1)


def body(layer: nn.Module) -> nn.Module:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), layer, nn.Flatten(), nn.LazyLinear(5)).eval()
    network(torch.zeros(2, 3, 14, 14))
    return network


WRONG: list[tuple[Callable[[], nn.Module], type[RunFailed], str]] = [
    (
        lambda: body(nn.AvgPool2d(2, divisor_override=3)),
        ParityFailed,
        r"; layer 1 \(AvgPool2d, aten\.avg_pool2d\) with divisor_override, which torch's exporter leaves out",
    ),
    (
        lambda: body(Pooled()),
        ParityFailed,
        r"; layer 1 \(Pooled, aten\.avg_pool2d, test_trial\.py, line \d+\) is exported wrongly",
    ),
    (
        lambda: body(LastStep(nn.LSTM(196, 8, proj_size=4, batch_first=True))),
        UserError,
        r"; layer 1\.cells \(LSTM, aten\.lstm\.input, .*\) with proj_size, which torch's exporter leaves out",
    ),
    (
        lambda: body(nn.BatchNorm2d(4, track_running_stats=False)),
        ParityFailed,
        r"; layer 1 \(BatchNorm2d\) gives a sample another output when other samples are in the batch",
    ),
    (
        lambda: body(LastStep(nn.LSTM(196, 8))),
        UserError,
        r"; layer 1\.cells \(LSTM\) gives a sample another output when other samples are in the batch",
    ),
    (
        lambda: body(TwoRows()),
        UserError,
        r"; layer 1 \(TwoRows, aten\.\w+, test_trial\.py, line \d+\) is exported for one batch size",
    ),
    (
        Packed,
        UserError,
        r"packed sequences \(pack_padded_sequence\) cannot be converted to ONNX; give the layer the padded batch and "
        r"take each sequence's last step: .* \(test_trial\.py, line \d+\)$",
    ),
]


@pytest.mark.parametrize(("precision", "simplified"), [("fp32", False), ("fp16", False), ("int8", True)])
def test_a_graph_that_is_right_as_it_is_is_not_simplified_first(
    monkeypatch: pytest.MonkeyPatch, precision: str, simplified: bool
) -> None:
    optimize = torch.onnx.ONNXProgram.optimize
    calls: list[torch.onnx.ONNXProgram] = []

    def counted(made: torch.onnx.ONNXProgram) -> Any:
        calls.append(made)
        return optimize(made)

    monkeypatch.setattr(torch.onnx.ONNXProgram, "optimize", counted)
    try_to_export(body(nn.ReLU()), precision=precision)
    assert bool(calls) is simplified


@pytest.mark.parametrize(("network", "kind", "words"), WRONG)
def test_what_is_exported_wrongly_is_told_by_its_layer(
    network: Callable[[], nn.Module], kind: type[RunFailed], words: str, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=words) as refused:
        made(DATA, network(), tmp_path)
    assert "\n" not in str(refused.value)


def try_to_export(network: nn.Module, **export: Any) -> None:
    whole = config(**export)
    trial.export(Network(DATA.normalisation(), network, DATA.task), DATA, whole, signature(whole.export, DATA))


def test_it_is_found_with_the_untrained_network() -> None:
    with pytest.raises(ParityFailed, match=r"layer 1 \(AvgPool2d, .* is exported wrongly"):
        try_to_export(body(nn.AvgPool2d(2, divisor_override=3)))
    with pytest.raises(UserError, match=r"export\.precision: int8 is not possible: operator LSTM has no 8-bit form"):
        try_to_export(nn.Sequential(LastStep(nn.LSTM(196, 64, batch_first=True)), nn.Linear(64, 5)), precision="int8")


def test_answers_that_differ_for_no_layers_sake_say_nothing_before_the_training() -> None:
    network = body(nn.Identity())
    with torch.no_grad():
        network.get_parameter("3.bias").fill_(float("nan"))
    try_to_export(network)


class Drawing(nn.Module):
    """Count calls and draw random numbers, in evaluation mode as well."""

    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))
        self.norm = nn.BatchNorm2d(4)

    def forward(self, images: Tensor) -> Tensor:
        random.random(), np.random.rand(), torch.rand(1)
        return self.norm(images + 0 * self.calls)


def test_neither_the_network_nor_chance_is_changed() -> None:
    network = body(Drawing()).train()
    before, states = (
        copy.deepcopy(network.state_dict()),
        (random.getstate(), np.random.get_state(legacy=False)["state"]["key"].tolist()),
    )
    generator = torch.get_rng_state()
    try_to_export(network)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert network.training and network.get_submodule("1.norm").training
    assert (random.getstate(), np.random.get_state(legacy=False)["state"]["key"].tolist()) == states
    assert torch.equal(torch.get_rng_state(), generator)


def test_a_network_is_trained_bit_for_bit_as_without_a_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    without, _ = small_run.finished()
    plain = small_run.network

    def tried(*arguments: Any) -> Any:
        network = plain(*arguments)
        data = small_run.little()
        trial.export(network, data, config(), graph(data, plain().body).signature)
        return network

    monkeypatch.setattr(small_run, "network", tried)
    assert small_run.finished()[0] == without


SCRIPT = """
    import torch
    from torch import nn

    def pooled(shape, outputs):
        return nn.Sequential(nn.AvgPool2d(2, divisor_override=3), nn.Flatten(), nn.LazyLinear(outputs))
"""


def test_a_run_ends_before_its_first_step_and_needs_no_trial_of_our_own_networks(
    execute: Callable[..., dict[str, Any]], write_script: Callable[[str], Path], stripes: Callable[..., Path],
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    from trainserve.models.progress import Progress

    sections: dict[str, Any] = {
        "dataset": {"path": str(stripes())},
        "trainer": {"epochs": 1},
        "gates": None,
        "output": None,
        "store": None,
    }
    progress = Progress()
    script = {"script": f"{write_script(SCRIPT)}:pooled"}
    with pytest.raises(ParityFailed, match=r"layer 0 \(AvgPool2d, .*\) with divisor_override"):
        execute(asked(tmp_path, model=script, **sections), progress)
    assert progress.state.step is None
    execute(asked(tmp_path, model={"name": "convnet"}, **sections))
    assert "export: tried" not in capsys.readouterr().out
    SOUND = SCRIPT.replace(", divisor_override=3", "")
    script = {"script": f"{write_script(SOUND)}:pooled"}
    execute(asked(tmp_path, model=script, **sections))
    assert "export: tried with the untrained network, " in capsys.readouterr().out


def asked(root: Path, **sections: Any) -> dict[str, Any]:
    whole = {**digits_config(root), **sections}
    return {name: section for name, section in whole.items() if section is not None}
