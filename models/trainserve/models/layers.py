"""Find the layer that an exported graph computes differently from PyTorch, when parity or onnxruntime fails.

The network is exported again, not optimised, with every intermediate value as an output; the first one that differs
from PyTorch's belongs to that layer. Or in PyTorch itself a sample's output depends on the other samples.
"""

from __future__ import annotations

import ast
import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.fx import Interpreter, Node

from trainserve.models.errors import ParityFailed, WrongGraph
from trainserve.models.graph import Graph

if TYPE_CHECKING:
    import onnx

_OURS = Path(__file__).parent
_ROWS = 3
"""Batch size, different from the exporter's two, so that a size taken for a constant shows."""
_FAR = 1e-2
"""Difference, relative to the largest value, that counts; rounding is a thousandth of it."""
_FAILED = re.compile(r"Name: ?'(?P<node>[^']+)'")
_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)')
_LOST: Mapping[str, tuple[str, str]] = {
    "AvgPool2d": ("divisor_override", "pool without it and multiply"),
    "AvgPool3d": ("divisor_override", "pool without it and multiply"),
    "LSTM": ("proj_size", "use a Linear after it"),
}
"""Arguments that torch's exporter drops, and replacements (torch 2.13; findings/torch-onnx-drops.sh)."""

Values = Mapping[str, Any]


@contextlib.contextmanager
def named(graph: Graph, given: NDArray[Any], program: Callable[[], torch.onnx.ONNXProgram]) -> Iterator[None]:
    """Inside, the messages of ParityFailed and WrongGraph get the layer appended, if one is found.

    `given`: some samples of the graph's input; `program`: exports it without optimising.
    """
    try:
        yield
    except (ParityFailed, WrongGraph) as error:
        some = given[np.arange(max(_ROWS, len(given))) % len(given)]
        layer = None
        # Diagnoses only: if one fails, the original error stands.
        with contextlib.suppress(Exception):
            layer = in_company(graph, some)
        if layer is None:
            with contextlib.suppress(Exception):
                layer = first_wrong(graph, some[:_ROWS], program())
        if layer is None:
            raise
        found = type(error)(f"{error}; {layer}")
        if isinstance(found, ParityFailed):
            found.layer = layer
        raise found from error


@torch.inference_mode()
def in_company(graph: Graph, given: NDArray[Any]) -> str | None:
    """The first layer whose output for the last two samples differs when they are alone instead of among `given`."""
    together, alone = _leaves(graph, given), _leaves(graph, given[-2:])
    for (name, answer), (_, other) in zip(together, alone, strict=False):
        if len(answer) == len(given) and _far(other.numpy(), answer[-2:].numpy()):
            return f"{_layer(graph, name)} gives a sample another output when other samples are in the batch"
    return None


def _leaves(graph: Graph, given: NDArray[Any]) -> list[tuple[str, Tensor]]:
    """Names and outputs of the modules without children, in the order of their calls."""
    seen: list[tuple[str, Tensor]] = []

    def remember(name: str) -> Any:
        def hook(module: nn.Module, taken: Any, answer: Any) -> None:
            first = answer[0] if isinstance(answer, tuple) and answer else answer
            if isinstance(first, Tensor):
                seen.append((name, first))

        return hook

    leaves = [(name, module) for name, module in graph.named_modules() if not [*module.children()]]
    hooks = [module.register_forward_hook(remember(name)) for name, module in leaves]
    try:
        graph(torch.from_numpy(given))
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def first_wrong(graph: Graph, given: NDArray[Any], program: torch.onnx.ONNXProgram) -> str | None:
    """The first layer whose output for `given` differs in ONNX, or that cannot be run; None if all are equal."""
    exported = program.exported_program
    assert exported is not None
    nodes = {node.name: node for node in exported.graph.nodes}
    truth = _Values(exported)
    truth.answer(torch.from_numpy(given))
    model = program.model_proto
    try:
        answers = _answers(model, given, [*truth.values])
    except Exception as error:  # onnxruntime has no common base class
        if (failed := nodes.get(_behind(model, str(error)))) is not None:
            return f"{_named(graph, failed)} cannot be run by onnxruntime"
        answers = {}
    for name, truly in truth.values.items():
        if name in answers and _far(answers[name], truly):
            return f"{_named(graph, nodes[name])} is exported wrongly"
    return None if truth.failed is None else f"{_named(graph, truth.failed)} is exported for one batch size"


class _Values(Interpreter):
    """PyTorch's intermediate floating-point values of an exported program, by node name."""

    def __init__(self, exported: torch.export.ExportedProgram) -> None:
        super().__init__(exported.graph_module)
        self._exported = exported
        self.values: dict[str, NDArray[Any]] = {}
        self.failed: Node | None = None
        """The node that could not be run."""

    @torch.inference_mode()
    def answer(self, given: Tensor) -> None:
        """Run a batch through the program, as far as possible."""
        held = {**self._exported.constants, **self._exported.state_dict}
        specs = self._exported.graph_signature.input_specs
        with contextlib.suppress(Exception):
            self.run(*[given if spec.target is None else held[spec.target] for spec in specs])

    def run_node(self, n: Node) -> Any:
        """Run a node and record its value."""
        try:
            value = super().run_node(n)
        except Exception:
            self.failed = n
            raise
        if n.op == "call_function" and isinstance(value, Tensor) and value.is_floating_point():
            self.values[n.name] = value.float().numpy()
        return value


def _answers(model: onnx.ModelProto, given: NDArray[Any], names: Sequence[str]) -> Values:
    """onnxruntime's values of those of `names` that are in the model."""
    import onnxruntime  # type: ignore[import-untyped]

    made = {name for node in model.graph.node for name in node.output} - {value.name for value in model.graph.output}
    asked = [name for name in names if name in made]
    for name in asked:
        model.graph.output.add(name=name)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # Optimising would fuse the nodes that are to be told apart.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip(asked, session.run(asked, {session.get_inputs()[0].name: given}), strict=True))


def _behind(model: onnx.ModelProto, text: str) -> str:
    """The exported program's node from which the ONNX node named in onnxruntime's error `text` was made."""
    found = _FAILED.search(text)
    for node in model.graph.node:
        if found and node.name == found["node"]:
            notes = {entry.key: entry.value for entry in node.metadata_props}
            return str(ast.literal_eval(notes.get("pkg.torch.onnx.name_scopes", "['']"))[-1])
    return ""


def _far(answer: NDArray[Any], truth: NDArray[Any]) -> bool:
    if answer.shape != truth.shape:
        return True
    finite = np.isfinite(truth)
    if not np.isfinite(answer[finite]).all():
        return True
    difference = np.abs(answer[finite].astype(np.float64) - truth[finite])
    return bool(difference.max(initial=0.0) > _FAR * np.abs(truth[finite]).max(initial=0.0))


def _named(graph: Graph, node: Node) -> str:
    """`layer 2.1 (AvgPool2d, aten.avg_pool2d)` with the line in the user's code and known problems."""
    stack = [*(node.meta.get("nn_module_stack") or {}).values()]
    path = str(stack[-1][0]) if stack else ""
    operator = str(node.target).removesuffix(".default")
    place = next(
        (
            f", {Path(frame['file']).name}, line {frame['line']}"
            for frame in reversed([*_FRAME.finditer(node.meta.get("stack_trace") or "")])
            if "site-packages" not in frame["file"] and not Path(frame["file"]).is_relative_to(_OURS)
        ),
        "",
    )
    return _layer(graph, path, f", {operator}{place}")


def _layer(graph: Graph, path: str, more: str = "") -> str:
    module = graph.get_submodule(path)
    kind = type(module).__name__
    name = path.removeprefix("network.").removeprefix("body.") or "the network itself"
    field, instead = _LOST.get(kind, ("", ""))
    lost = f" with {field}, which torch's exporter leaves out ({instead}):" if getattr(module, field, None) else ""
    return f"layer {name} ({kind}{more}){lost}"
