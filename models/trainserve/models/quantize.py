"""int8: quantisation of an exported float32 file's weights and activations (QDQ), calibrated on training samples.

Measurements behind the settings (2026-11, digits padded to 32x32, six trained networks, onnxruntime 1.32): unsigned
activations are as accurate as signed ones and mostly faster (single timings on a busy machine); ranges averaged over
batches keep efficientnet_b0's accuracy (0.896 of 0.899; the extremes of all samples: 0.873) and cost the others
nothing; percentiles are no better and four times as slow. Weights use 7 of their 8 bits: without VNNI (AVX2, AMD
before Zen 4) sums of 8-bit products overflow silently
(onnxruntime.ai/docs/performance/model-optimizations/quantization.html), and a version must give the same results
wherever it is served.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trainserve.models import export as fp32
from trainserve.models import onnx_file
from trainserve.models.data.dataset import Dataset
from trainserve.models.errors import ConfigError
from trainserve.models.export import Exported
from trainserve.models.graph import Graph
from trainserve.models.program import Program

if TYPE_CHECKING:
    import onnx

SAMPLES = 256
"""Training samples for calibration."""
_BATCH = 32
_NORMALISATION = ("Cast", "Div", "Mul", "Sub", "Transpose")
_REARRANGING = ("Concat", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze")
"""Operators between a recurrent network's weights in torch's layout and the ONNX operator."""
_STEPS = ("QuantizeLinear", "DequantizeLinear")
_KEPT = 0.5
"""Largest share of weights that may stay float."""


def export(
    graph: Graph,
    dataset: Dataset,
    opset: int,
    path: Path,
    batches: Sequence[int] = fp32.BATCHES,
    program: Program | None = None,
    *,
    optimised: bool = True,
) -> Exported:
    """Write `path` by way of a temporary float32 file beside it. Raises as `export.export`."""
    wide = path.with_name(f"float32-{path.name}")
    try:
        exported = fp32.export(graph, dataset, opset, wide, batches, program, optimised=optimised)
        if len(exported.files) > 1:
            raise ConfigError(
                f"export.precision: int8 is not possible for {exported.bytes} bytes of weights; must be at most "
                f"{onnx_file.INLINE_LIMIT} in float32; use fp16 or fp32"
            )
        quantize(graph, dataset, wide, path)
    finally:
        for file in (wide, wide.with_name(wide.name + onnx_file.EXTERNAL_DATA)):
            file.unlink(missing_ok=True)
    return fp32.checked(exported.program, graph, dataset, {path.name: path}, batches)


def quantize(graph: Graph, dataset: Dataset, wide: Path, target: Path) -> None:
    """Write `target` from the float32 file `wide`; normalisation, softmax and top k stay float.

    Raises ConfigError naming the operator if most weights belong to one without an 8-bit form.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_static  # type: ignore[import-untyped]

    model = onnx.load(wide)
    properties = {entry.key: entry.value for entry in model.metadata_props}
    # Silences the request for preprocessing, which torch's exporter has done: shapes are inferred, norms folded.
    onnx.helper.set_model_props(model, {"onnx.quant.pre_process": "onnxruntime.quant"})
    onnx.save(model, wide)
    logging.disable(logging.WARNING)  # about norms whose weights have no channel axis
    try:
        quantize_static(
            wide,
            target,
            _Calibration(graph, dataset),
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=_left_alone(model),
            # Gemm: the last one's outputs are the logits, where quantisation steps would show after softmax.
            extra_options={"CalibMovingAverage": True, "OpTypesToExcludeOutputQuantization": ["Gemm"]},
        )
    finally:
        logging.disable(logging.NOTSET)
    quantized = onnx.load(target)
    if (operator := _float_operator(quantized)) is not None:
        raise ConfigError(
            f"export.precision: int8 is not possible: operator {operator} has no 8-bit form; use fp16 or fp32"
        )
    onnx_file.strip(quantized)
    onnx.helper.set_model_props(quantized, properties)
    target.write_bytes(quantized.SerializeToString())


class _Calibration:
    """An onnxruntime CalibrationDataReader of training samples, evenly over the split."""

    def __init__(self, graph: Graph, dataset: Dataset) -> None:
        images = dataset.train_images
        chosen = np.linspace(0, len(images) - 1, min(SAMPLES, len(images))).astype(int)
        self._name = graph.signature.input.name
        self._batches = (graph.given(images[part]) for part in np.array_split(chosen, -(-len(chosen) // _BATCH)))

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        batch = next(self._batches, None)
        return None if batch is None else {self._name: batch}


def _left_alone(model: onnx.ModelProto) -> list[str]:
    """Nodes that stay float: normalisation before the network, softmax and top k after it."""
    names = [node.name for node in model.graph.node if node.op_type in ("Softmax", "TopK")]
    reached = {value.name for value in model.graph.input}
    for node in model.graph.node:  # in topological order
        if node.op_type in _NORMALISATION and reached.intersection(node.input):
            names.append(node.name)
            reached.update(node.output)
    return names


def _float_operator(model: onnx.ModelProto) -> str | None:
    """The operator with most float weights if the share of float weights exceeds _KEPT, else None."""
    from onnx import TensorProto

    sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in model.graph.initializer}
    small = {TensorProto.INT8, TensorProto.UINT8}
    quantized = {tensor.name for tensor in model.graph.initializer if tensor.data_type in small}
    scales = {name for node in model.graph.node if node.op_type in _STEPS for name in node.input[1:]}
    floats = sum(
        sizes[tensor.name]
        for tensor in model.graph.initializer
        if tensor.data_type == TensorProto.FLOAT and tensor.name not in scales
    )
    if floats <= _KEPT * (floats + sum(sizes[name] for name in quantized)):
        return None
    kept: Counter[str] = Counter()
    for node in model.graph.node:
        weights = sum(sizes.get(name, 0) for name in node.input if name not in quantized | scales)
        if node.op_type in _REARRANGING + _STEPS:
            sizes[node.output[0]] = weights
        else:
            kept[node.op_type] += weights
    return max(kept, key=lambda operator: kept[operator])
