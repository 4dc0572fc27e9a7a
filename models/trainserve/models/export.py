"""Export of the trained network to an ONNX file that takes raw images and holds nothing of this machine."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainserve.models import onnx_file, pools, unsupported
from trainserve.models.data.dataset import Dataset
from trainserve.models.errors import RunFailed, UserError, WrongGraph
from trainserve.models.graph import Graph
from trainserve.models.program import Program
from trainserve.models.session import Session
from trainserve.models.warmup import quiet

MAX_IR_VERSION = 10
"""Loaded by onnxruntime 1.19 to 1.32, and so by Triton from 24.10 on."""
BATCHES = (1, 2, 7, 64)
"""Batch sizes with which every export is run once."""


@dataclass(frozen=True)
class Exported:
    """An exported model. `files`: name in the version -> file, model.onnx and external weights, if any."""

    program: Program
    """The program, which can be filled with other weights of the same network."""
    path: Path
    files: Mapping[str, Path]
    opset: int
    ir_version: int

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(path.stat().st_size for path in self.files.values())


def export(
    graph: Graph,
    dataset: Dataset,
    opset: int,
    path: Path,
    batches: Sequence[int] = BATCHES,
    program: Program | None = None,
    *,
    optimised: bool = True,
) -> Exported:
    """Write `path`, with weights in a second file if they are too large for one.

    `program`: the graph's program, if it was exported before. Raises UserError naming the operator if the model cannot
    be exported, or works with one batch size only.
    """
    import onnx

    quiet()
    graph.eval()
    program = program or Program.of(graph, dataset, opset)
    made = program.filled(graph, optimised=optimised)
    beside = _weights(made) > onnx_file.INLINE_LIMIT
    files = {path.name: path}
    if beside:
        files[path.name + onnx_file.EXTERNAL_DATA] = path.with_name(path.name + onnx_file.EXTERNAL_DATA)
        made.save(path, external_data=True)
        model = onnx.load(path, load_external_data=False)
    else:
        model = made.model_proto
    onnx_file.strip(model)
    pools.settle(model)
    if random := onnx_file.random_operator(model):
        raise UserError(f"model: the output of operator {random} is random; it must do nothing in evaluation mode")
    onnx.helper.set_model_props(model, _properties(graph, dataset))
    path.write_bytes(model.SerializeToString())
    return checked(program, graph, dataset, files, batches)


def checked(
    program: Program, graph: Graph, dataset: Dataset, files: Mapping[str, Path], batches: Sequence[int] = BATCHES
) -> Exported:
    """Check that servers can load `files` and run them at any batch size. Raises WrongGraph, RunFailed."""
    import onnx

    path = next(iter(files.values()))
    try:
        pools.full_check(path)
    except Exception as error:  # errors of the checker and of shape inference, without a common base
        raise WrongGraph(f"model: cannot be exported to ONNX: {unsupported.invalid(error)}") from error
    model = onnx.load(path, load_external_data=False)
    if fixed := onnx_file.fixed_batch(model):
        raise WrongGraph(
            f"model: its batch axis is fixed at {fixed} by an operator with a constant shape, such as reshape"
        )
    if model.ir_version > MAX_IR_VERSION:
        raise RunFailed(f"the exporter wrote IR version {model.ir_version}; must be at most {MAX_IR_VERSION}")
    _check_batches(graph, dataset, Session(path), batches)
    return Exported(program, path, files, onnx_file.opset(model), model.ir_version)


def _check_batches(graph: Graph, dataset: Dataset, session: Session, batches: Sequence[int]) -> None:
    given = graph.given(dataset.test_images[: max(batches)])
    given = given[np.arange(max(batches)) % len(given)]
    for batch in batches:
        answers = session.run(given[:batch], batch)
        for output in graph.signature.outputs:
            expected = [batch, *output.shape[1:]]
            if list(answers[output.name].shape) != expected:
                raise WrongGraph(
                    f"model: output {output.name} has shape {list(answers[output.name].shape)} for a batch of {batch}; "
                    f"must be {expected}: its batch axis is fixed"
                )


def _weights(program: torch.onnx.ONNXProgram) -> int:
    return sum(value.const_value.nbytes for value in program.model.graph.initializers.values() if value.const_value)


def _properties(graph: Graph, dataset: Dataset) -> dict[str, str]:
    return {"labels": json.dumps(dataset.labels), "preprocessing": json.dumps(preprocessing(graph))}


def preprocessing(graph: Graph) -> dict[str, Any]:
    """The preprocessing of raw images, done `by` the graph, or by the client if the graph takes a tensor."""
    normalisation = graph.network.normalisation
    return {
        "scale": normalisation.scale,
        "mean": normalisation.mean,
        "std": normalisation.std,
        "by": "graph" if graph.signature.takes_images else "client",
    }
