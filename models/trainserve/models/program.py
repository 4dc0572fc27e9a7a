"""A graph traced by torch's exporter, kept without weights and filled with the trained ones later.

Nearly all of an export's time is tracing, which needs no weights: 7 of resnet18's 8 s. A network that was exported on
trial before the first epoch is therefore not traced again.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor

from trainserve.models import unsupported
from trainserve.models.data.dataset import Dataset
from trainserve.models.errors import UserError, WrongGraph
from trainserve.models.graph import Graph


@dataclass(frozen=True)
class Program:
    """A traced graph with the names, shapes and types of its weights, but not the weights."""

    _made: torch.onnx.ONNXProgram
    _weights: Mapping[str, tuple[torch.Size, torch.dtype]]

    @classmethod
    def of(cls, graph: Graph, dataset: Dataset, opset: int) -> Program:
        """Trace the graph. Raises UserError naming an operator that cannot be exported."""
        made = traced(graph, dataset, opset)
        model = made.model
        weights = {name: tensor for name, tensor in _tensors(graph).items() if name in model.graph.initializers}
        for name in weights:
            model.graph.initializers[name].const_value = None
        return cls(
            torch.onnx.ONNXProgram(model, None), {name: (each.shape, each.dtype) for name, each in weights.items()}
        )

    def filled(self, graph: Graph, *, optimised: bool = True) -> torch.onnx.ONNXProgram:
        """A copy of the program with the current weights of `graph`.

        Raises WrongGraph if their names, shapes or types differ from those traced.
        """
        tensors = _tensors(graph)
        for name, (shape, dtype) in self._weights.items():
            found = tensors.get(name)
            if found is None or (found.shape, found.dtype) != (shape, dtype):
                raise WrongGraph(
                    f"model: weight {name} must keep its shape {[*shape]} and type {dtype} in the training"
                )
        filled = torch.onnx.ONNXProgram(self._made.model.clone(), None)
        filled.apply_weights({name: tensors[name].detach() for name in self._weights})
        if optimised:
            filled.optimize()
        return filled


def traced(graph: Graph, dataset: Dataset, opset: int) -> torch.onnx.ONNXProgram:
    """Export the graph with its weights, not optimised, by torch's exporter. Raises UserError as `Program.of`."""
    # Two samples: with an example of one the exporter would specialise the batch size to 1.
    example = torch.from_numpy(graph.given(dataset.test_images[:1])).repeat_interleave(2, dim=0)
    told = io.StringIO()  # torch prints whole graphs of a model that it cannot trace
    with warnings.catch_warnings(), contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
        warnings.simplefilter("ignore", FutureWarning)
        # LSTM and GRU keep a list of their weights, which the exporter takes for state.
        warnings.filterwarnings("ignore", r"The tensor attributes? .*\._flat_weights", UserWarning)
        try:
            made = torch.onnx.export(
                graph,
                (example,),
                dynamo=True,
                external_data=False,
                opset_version=opset,
                input_names=[graph.signature.input.name],
                output_names=graph.signature.names,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                verbose=False,
                optimize=False,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            raise UserError(f"model: cannot be exported to ONNX: {unsupported.reason(error)}") from error
    assert made is not None
    return made


def _tensors(graph: Graph) -> dict[str, Tensor]:
    """Parameters and buffers of the graph, under all of their names."""
    return dict(chain(graph.named_parameters(remove_duplicate=False), graph.named_buffers(remove_duplicate=False)))
