"""Pooling with ceil_mode: exported with PyTorch's window count, for every onnxruntime, and never refused for it."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from trainserve.models import pools
from trainserve.models.errors import UserError
from trainserve.models.script import own_graph
from trainserve.models.script.config import parse

from .exporting import dataset, made


def every_pool() -> list[nn.Module]:
    """Return pools with windows smaller than, equal to and larger than their stride; with padding and dilation."""
    made: list[nn.Module] = []
    for kernel, stride, padding in itertools.product((1, 2, 3), (1, 2, 3, 4), (0, 1)):
        if 2 * padding > kernel:
            continue
        made += [nn.MaxPool2d(kernel, stride, padding, dilation, ceil_mode=True) for dilation in (1, 2)]
        made += [nn.AvgPool2d(kernel, stride, padding, True, counted) for counted in (True, False)]
    return made


def file(pool: Any, given: torch.Tensor, answered: torch.Tensor) -> onnx.ModelProto:
    """Return a graph of one pool at opset 18, as the exporter writes it."""
    more: dict[str, Any] = {}
    for name, attribute in (("dilation", "dilations"), ("count_include_pad", "count_include_pad")):
        if hasattr(pool, name):
            value = getattr(pool, name)
            more[attribute] = [value, value] if name == "dilation" else int(value)
    node = helper.make_node(
        "MaxPool" if isinstance(pool, nn.MaxPool2d) else "AveragePool",
        ["in"],
        ["out"],
        kernel_shape=[pool.kernel_size] * 2,
        strides=[pool.stride] * 2,
        pads=[pool.padding] * 4,
        ceil_mode=1,
        **more,
    )
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *tensor.shape[1:]])
        for name, tensor in (("in", given), ("out", answered))
    ]
    opset = [helper.make_opsetid("", 18)]
    return helper.make_model(
        helper.make_graph([node], "pool", values[:1], values[1:]), opset_imports=opset, ir_version=10
    )


@pytest.mark.parametrize("size", [(5, 6), (7, 11)])
def test_every_pool_answers_as_pytorch_does(size: tuple[int, int], tmp_path: Path) -> None:
    torch.manual_seed(0)
    given, kept = torch.randn(2, 3, *size), []
    for pool in every_pool():
        expected = pool(given)
        model = file(pool, given, expected)
        pools.settle(model)
        kept += [pool] if pools.rounded_up(model) else []
        onnx.save(model, tmp_path / "pool.onnx")
        pools.full_check(tmp_path / "pool.onnx")
        session = onnxruntime.InferenceSession(tmp_path / "pool.onnx", providers=["CPUExecutionProvider"])
        np.testing.assert_allclose(session.run(None, {"in": given.numpy()})[0], expected, atol=1e-6, err_msg=str(pool))
    # Windows of padding alone, which explicit padding cannot express.
    assert all(pool.padding or pool.dilation == 2 for pool in kept)
    assert len(kept) < len(every_pool()) / 5


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_network_with_such_pools_is_exported(precision: str, tmp_path: Path) -> None:
    several = [
        nn.MaxPool2d(1, 2, ceil_mode=True),
        nn.AvgPool2d(3, 4, padding=1, ceil_mode=True),
        nn.MaxPool2d(2, 3, padding=1, dilation=2, ceil_mode=True),
    ]
    body = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), *several, nn.Flatten(), nn.LazyLinear(5))
    body(torch.zeros(2, 3, 25, 26))
    assert made(dataset((25, 26, 3)), body, tmp_path, precision=precision).compared.max_abs < 0.02


def test_a_scripts_own_file_is_not_refused_for_a_window_that_onnx_miscounts(tmp_path: Path) -> None:
    pool, given = nn.MaxPool2d(1, 2, ceil_mode=True), torch.zeros(2, 3, 4, 4)
    onnx.save(file(pool, given, pool(given)), tmp_path / "model.onnx")
    with pytest.raises(onnx.shape_inference.InferenceError):
        onnx.checker.check_model(tmp_path / "model.onnx", full_check=True)
    taken = own_graph.take(tmp_path, parse({"model": {"script": "a.py"}}, tmp_path))
    assert taken.outputs[0].shape == [-1, 3, 2, 2]


def test_what_else_is_wrong_with_it_is_found_all_the_same(tmp_path: Path) -> None:
    pool, given = nn.MaxPool2d(1, 2, ceil_mode=True), torch.zeros(2, 3, 4, 4)
    model = file(pool, given, pool(given))
    model.graph.node[0].output[0] = "pooled"
    model.graph.node.append(helper.make_node("Transpose", ["pooled"], ["out"], perm=[0, 1, 2]))
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(UserError, match=r"^model\.onnx: not a valid ONNX model: .*Transpose|^model\.onnx: onnxruntime"):
        own_graph.take(tmp_path, parse({"model": {"script": "a.py"}}, tmp_path))
