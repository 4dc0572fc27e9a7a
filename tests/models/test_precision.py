"""fp16 and int8: the contents of the files, how they are compared, and the accuracy that they may lose."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto
from torch import Tensor, nn

from trainserve.models import gates, onnx_file, parity, zoo
from trainserve.models.artifact import Artifact
from trainserve.models.config import Export, Gates
from trainserve.models.errors import GateNotMet, ParityFailed, UserError
from trainserve.models.gates import Scores
from trainserve.models.parity import Tolerance

from .exporting import dataset, learnt, linear, made, regression

DATA = dataset()


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def body() -> nn.Module:
    torch.manual_seed(0)
    return learnt(DATA, zoo.build("convnet", {}, DATA.shape, 5))


@pytest.fixture(scope="module")
def make(body: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Artifact]:
    """Export the trained convnet in a precision, with its two best classes; each precision is exported once."""
    done: dict[str, Artifact] = {}

    def once(precision: str) -> Artifact:
        if precision not in done:
            done[precision] = made(DATA, body, tmp_path_factory.mktemp(precision), precision=precision, topK=2)
        return done[precision]

    return once


def weights(made: Artifact) -> dict[int, int]:
    """Return the number of weight elements in the file by ONNX type."""
    sizes: dict[int, int] = {}
    for tensor in onnx.load(made.exported.path).graph.initializer:
        sizes[tensor.data_type] = sizes.get(tensor.data_type, 0) + int(np.prod(tensor.dims))
    return sizes


@pytest.mark.parametrize(("precision", "share"), [("fp16", 0.55), ("int8", 0.35)])
def test_the_file_is_smaller_and_as_right(make: Callable[[str], Artifact], precision: str, share: float) -> None:
    wide, narrow = make("fp32"), make(precision)
    assert narrow.exported.bytes < share * wide.exported.bytes
    assert wide.scored is None
    assert narrow.scored is not None and narrow.scored.accuracy is not None
    assert narrow.scored.accuracy > 0.99
    assert wide.compared.max_abs < narrow.compared.max_abs < 0.05
    assert f"opset 18, IR 10, {precision}, " in str(narrow)
    assert "test split: accuracy" in str(narrow)


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_inputs_and_outputs_keep_their_names_and_types(make: Callable[[str], Artifact], precision: str) -> None:
    def described(made: Artifact) -> list[tuple[Any, ...]]:
        session = onnxruntime.InferenceSession(made.exported.path)
        return [(each.name, each.type, each.shape) for each in (*session.get_inputs(), *session.get_outputs())]

    assert described(make(precision)) == described(make("fp32"))


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_labels_travel_in_the_file_and_nothing_of_this_machine(make: Callable[[str], Artifact], precision: str) -> None:
    model, wide = onnx.load(make(precision).exported.path), onnx.load(make("fp32").exported.path)
    assert list(model.metadata_props) == list(wide.metadata_props)
    for trace in (b".py", b"stack_trace", b"site-packages", b"/tmp"):
        assert trace not in model.SerializeToString()


def test_fp16_weights_are_half_precision(make: Callable[[str], Artifact]) -> None:
    kinds = weights(make("fp16"))
    assert kinds[TensorProto.FLOAT16] > 30_000
    assert kinds[TensorProto.FLOAT] < 10


def test_int8_weights_have_a_scale_per_channel_of_7_bits(make: Callable[[str], Artifact]) -> None:
    kinds = weights(make("int8"))
    assert kinds[TensorProto.INT8] > 30_000
    assert kinds[TensorProto.FLOAT] < 500
    arrays = {
        tensor.name: onnx.numpy_helper.to_array(tensor)
        for tensor in onnx.load(make("int8").exported.path).graph.initializer
    }
    filters = next(name for name in arrays if name.endswith("convolution.weight_quantized"))
    assert arrays[filters].dtype == np.int8
    assert np.abs(arrays[filters].astype(int)).max() <= 64
    assert arrays[filters.replace("_quantized", "_scale")].shape == (32,)


def test_int8_leaves_normalisation_and_softmax_in_float(make: Callable[[str], Artifact]) -> None:
    nodes = onnx.load(make("int8").exported.path).graph.node
    makers = {output: node.op_type for node in nodes for output in node.output}
    (softmax,) = (node for node in nodes if node.op_type == "Softmax")
    assert makers[softmax.input[0]] == "Gemm"
    first = next(node for node in nodes if node.op_type == "QuantizeLinear")
    assert makers[first.input[0]] == "Div"  # by the standard deviation, the last step of the normalisation


def test_int8_is_calibrated_alike_every_time(make: Callable[[str], Artifact], body: nn.Module, tmp_path: Path) -> None:
    again = made(DATA, body, tmp_path, precision="int8", topK=2)
    assert again.exported.path.read_bytes() == make("int8").exported.path.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_a_recurrent_network_is_exported_in_fp16_and_refused_in_int8(tmp_path: Path) -> None:
    lstm = learnt(DATA, zoo.build("lstm", {"hidden": 16}, DATA.shape, 5))
    assert made(DATA, lstm, tmp_path, precision="fp16").compared.max_abs < 0.01
    with pytest.raises(UserError, match=r"export.precision: int8 is not possible: operator LSTM has no 8-bit form"):
        made(DATA, lstm, tmp_path, precision="int8")


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_regression_is_compared_by_the_size_of_its_values(tmp_path: Path, precision: str) -> None:
    data = regression()
    done = made(data, learnt(data, linear(data)), tmp_path, precision=precision)
    largest = np.abs(done.compared.answers["values"]).max()
    assert done.compared.tolerance.atol == pytest.approx({"fp16": 0.01, "int8": 0.2}[precision] * largest)
    assert done.scored is not None and done.scored.accuracy is None


class Drowned(nn.Module):
    """A value so large next to the informative ones that 8 bits cannot represent the latter."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(64, 5), nn.Linear(6, 5).requires_grad_(False)
        self.last.weight.copy_(torch.cat([torch.eye(5), torch.zeros(5, 1)], dim=1))

    def forward(self, images: Tensor) -> Tensor:
        flat = images.flatten(1)
        return self.last(torch.relu(torch.cat([self.first(flat), 1e6 * flat[:, :1].abs()], dim=1)))


def test_int8_that_costs_answers_fails_parity_and_where_that_is_waived_the_gate(tmp_path: Path) -> None:
    body = learnt(DATA, Drowned())
    with pytest.raises(ParityFailed, match=r"must be at most 0.5"):
        made(DATA, body, tmp_path, precision="int8")
    done = made(DATA, body, tmp_path, precision="int8", parity={"atol": 1.0})
    trained = Scores(
        float((done.graph.answer(DATA.test_images)["probabilities"].argmax(1) == DATA.test_targets).mean()), 0
    )
    with pytest.raises(GateNotMet, match=r"gates.maxAccuracyDrop: accuracy 0\.\d+ of the exported file is"):
        gates.check(Gates(), trained, done.scored)


def test_weights_too_many_for_one_file_are_refused_in_int8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_file, "INLINE_LIMIT", 1000)
    with pytest.raises(UserError, match=r"export.precision: int8 is not possible for \d+ bytes of weights"):
        made(DATA, linear(DATA), tmp_path, precision="int8")
    assert list(tmp_path.iterdir()) == []


def test_what_the_user_tolerates_wins_over_what_the_precision_allows() -> None:
    def bound(**fields: Any) -> Tolerance:
        return parity.tolerance(Export.model_validate(fields))

    assert bound() == Tolerance(1e-3, 1e-5)
    assert bound(precision="fp16") == Tolerance(1e-2, 0.05)
    assert bound(precision="int8") == Tolerance(0.0, 0.5)
    assert bound(precision="int8", parity={"atol": 1e-3}) == Tolerance(0.0, 1e-3)
    assert bound(precision="fp16", parity={"rtol": 0.0, "atol": 0.0}) == Tolerance(0.0, 0.0)
