"""The trained network as one ONNX file: raw images in, probabilities out, nothing of this machine in it."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from trainserve.models.data.dataset import Dataset
from trainserve.models.errors import RunFailed, UserError
from trainserve.models.network import Network
from trainserve.models.warmup import quiet

if TYPE_CHECKING:
    import onnx

INPUT, OUTPUT = "images", "probabilities"
MAX_IR_VERSION = 10
"""Loads on every onnxruntime from 1.19 to 1.32, and so on every Triton from 24.10."""


@dataclass(frozen=True)
class Exported:
    """What the file is. Shapes have -1 for the batch axis."""

    path: Path
    opset: int
    ir_version: int
    dtype: str
    input_shape: list[int]
    output_shape: list[int]


def export(network: Network, dataset: Dataset, opset: int, path: Path) -> Exported:
    """Write `path`. The network is taken to the CPU and put into evaluation mode.

    Raises UserError when the model holds what cannot be exported.
    """
    import onnx

    quiet()
    network = network.cpu().eval()
    # Two samples: an example of one would let the exporter believe that the batch is always one.
    example = torch.from_numpy(dataset.test_images[:1]).repeat(2, 1, 1, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        try:
            program = torch.onnx.export(
                network,
                (example,),
                dynamo=True,
                external_data=False,
                opset_version=opset,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
                verbose=False,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            raise UserError(f"model: cannot be exported to ONNX: {str(error).strip().splitlines()[0]}") from error
    assert program is not None
    model = program.model_proto
    strip(model)
    height, width, channels = dataset.shape
    onnx.helper.set_model_props(model, _properties(network, dataset))
    onnx.checker.check_model(model, full_check=True)
    if model.ir_version > MAX_IR_VERSION:
        raise RunFailed(f"the exporter wrote IR version {model.ir_version}; at most {MAX_IR_VERSION} is served")
    path.write_bytes(model.SerializeToString())
    return Exported(
        path=path,
        opset=next(entry.version for entry in model.opset_import if entry.domain == ""),
        ir_version=model.ir_version,
        dtype=str(dataset.test_images.dtype),
        input_shape=[-1, height, width, channels],
        output_shape=[-1, len(dataset.labels)],
    )


def strip(model: onnx.ModelProto) -> None:
    """Remove what the exporter notes of its own work: stack traces with local paths, names of Python modules."""
    graphs = [model.graph, *model.functions]
    for graph in graphs:
        graph.ClearField("metadata_props")
        graph.ClearField("doc_string")
        for node in graph.node:
            node.ClearField("metadata_props")
            node.ClearField("doc_string")
            graphs.extend(attribute.g for attribute in node.attribute if attribute.HasField("g"))
        for value in graph.value_info:
            value.ClearField("metadata_props")
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        value.ClearField("metadata_props")


def _properties(network: Network, dataset: Dataset) -> dict[str, str]:
    normalisation = network.normalisation
    return {
        "labels": json.dumps(dataset.labels),
        "preprocessing": json.dumps(
            {"scale": normalisation.scale, "mean": normalisation.mean, "std": normalisation.std}
        ),
    }
