"""A graph exported before training takes the trained weights afterwards, and equals a fresh export."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trainserve.models import artifact, trial
from trainserve.models.artifact import Artifact
from trainserve.models.errors import WrongGraph
from trainserve.models.graph import Graph
from trainserve.models.network import Network
from trainserve.models.program import Program
from trainserve.models.signature import signature

from .exporting import config, dataset, learnt

DATA = dataset((14, 14, 3))


class Steps(nn.Module):
    """A recurrent network over the image's rows, with a buffer that no checkpoint contains."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.GRU(3 * 14, 8, batch_first=True)
        self.register_buffer("factor", torch.tensor([2.0]), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        steps: Tensor = self.cells(images.transpose(1, 2).flatten(2))[0]
        return steps[:, -1] * self.get_buffer("factor")


class Shared(nn.Module):
    """One layer under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3 * 14 * 14, 3 * 14 * 14)
        self.second = self.first

    def forward(self, images: Tensor) -> Tensor:
        return self.second(torch.relu(self.first(images.flatten(1))))


class Turning(nn.Module):
    """A network that computes differently once `trained` is set."""

    trained = False

    def forward(self, images: Tensor) -> Tensor:
        return -images if self.trained else images


def convolution() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.LazyLinear(5))


def body(*layers: nn.Module) -> nn.Module:
    made = nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(5)).eval()
    made(torch.zeros(2, 3, 14, 14))
    return made


def tried(network: nn.Module, **export: Any) -> Program:
    whole = config(**export)
    inside = Network(DATA.normalisation(), network, DATA.task)
    program = trial.export(inside, DATA, whole, signature(whole.export, DATA))
    assert program is not None
    return program


def exported(network: nn.Module, folder: Path, program: Program | None = None, **export: Any) -> Artifact:
    folder.mkdir()
    whole = config(**export)
    inside = Graph(Network(DATA.normalisation(), network, DATA.task), signature(whole.export, DATA))
    return artifact.make(inside, DATA, whole, folder, program=program)


@pytest.fixture
def walks(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """The graphs passed to torch's exporter, in order."""
    seen: list[nn.Module] = []
    export = torch.onnx.export

    def counted(graph: nn.Module, *arguments: Any, **options: Any) -> Any:
        seen.append(graph)
        return export(graph, *arguments, **options)

    monkeypatch.setattr(torch.onnx, "export", counted)
    return seen


@pytest.mark.parametrize(
    ("network", "export"), [(convolution, {}), (Steps, {"precision": "fp16"}), (Shared, {"opset": 20})]
)
def test_filled_with_the_trained_weights_it_is_the_file_that_an_export_gives(
    network: Any, export: dict[str, Any], tmp_path: Path, walks: list[nn.Module]
) -> None:
    untrained = body(network())
    program = tried(untrained, **export)
    trained = learnt(DATA, untrained)
    exported(trained, tmp_path / "filled", program, **export)
    assert len(walks) == 1
    exported(trained, tmp_path / "anew", **export)
    assert (tmp_path / "filled/model.onnx").read_bytes() == (tmp_path / "anew/model.onnx").read_bytes()


def test_8_bit_weights_are_those_of_the_trained_network(tmp_path: Path, walks: list[nn.Module]) -> None:
    untrained = body(convolution())
    program = tried(untrained, precision="int8")
    made = exported(learnt(DATA, untrained), tmp_path / "filled", program, precision="int8")
    assert len(walks) == 1
    assert made.scored is not None and made.scored.accuracy == 1.0


def test_it_can_be_filled_again_and_keeps_no_weights(tmp_path: Path) -> None:
    network = body(convolution())
    program = tried(network)
    sizes = [value.const_value.nbytes for value in program._made.model.graph.initializers.values() if value.const_value]
    assert sum(sizes) < 1000
    for name in ("first", "second"):
        learnt(DATA, network, 20)
        made = exported(copy.deepcopy(network), tmp_path / name, program)
        assert made.compared.max_abs < 1e-4
    assert (tmp_path / "first/model.onnx").read_bytes() != (tmp_path / "second/model.onnx").read_bytes()


def test_a_network_whose_code_does_otherwise_when_it_is_trained_is_exported_anew(
    tmp_path: Path, walks: list[nn.Module]
) -> None:
    turning = Turning()
    network = body(turning)
    program = tried(network)
    turning.trained = True
    made = exported(network, tmp_path / "made", program)
    assert len(walks) == 2
    given = made.compared.given
    expected = made.graph.answer(given)
    answers = made.session.run(given, len(given))
    assert all(np.allclose(answers[name], expected[name], atol=1e-5) for name in expected)


def test_other_weights_than_those_that_it_was_made_for_are_named_and_the_network_is_exported_anew(
    tmp_path: Path, walks: list[nn.Module]
) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 14 * 14, 7), nn.Linear(7, 5))
    program = tried(network)
    network[1], network[2] = nn.Linear(3 * 14 * 14, 9), nn.Linear(9, 5)
    inside = Graph(Network(DATA.normalisation(), network, DATA.task), signature(config().export, DATA))
    with pytest.raises(WrongGraph, match=r"weight network\.body\.1\.weight must keep its shape \[7, 588\]"):
        program.filled(inside)
    exported(network, tmp_path / "made", program)
    assert len(walks) == 2
