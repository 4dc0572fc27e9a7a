"""Metadata of a lone .onnx file: inputs, outputs, batch axis, dtypes, opset, IR version, external data."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainserve.api.reasons import Reason
from trainserve.serving.protocol.triton_types import TYPES
from trainserve.serving.sources import not_onnx
from trainserve.serving.sources.origins import inside
from trainserve.store import Batching, Preprocessing, StoreError, Tensor, beside

if TYPE_CHECKING:
    import onnx


class UnusableGraph(StoreError):
    """The file is not an ONNX graph that a server can load; the message says why."""

    reason = Reason.UNSERVABLE_MODEL


@dataclass(frozen=True)
class Graph:
    """In shapes, -1 is an axis of any length. `external` are the files of its weights, relative to its folder.

    `opset` is that of the standard operators, None if the graph uses only others, such as those of ai.onnx.ml. `labels`
    and `preprocessing` come from its metadata as `trainserve` writes them; empty and None if it has none.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    opset: int | None
    ir_version: int
    external: tuple[str, ...]
    labels: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None


def read(path: Path) -> Graph:
    """Read the graph in a file, without its external data. Raises UnusableGraph, EscapingName, OSError."""
    model = _loaded(path)
    if not model.graph.node or not model.graph.output:
        raise UnusableGraph(f"{path}: {not_onnx.of_file(path) or 'not an ONNX file: it has no graph'}")
    if not model.opset_import:
        raise UnusableGraph(f"{path}: it names no opset of its operators")
    opset = next((int(each.version) for each in model.opset_import if each.domain in ("", "ai.onnx")), None)
    external = tuple(sorted({_location(path, tensor) for tensor in beside.tensors(model)}))
    weights = {each.name for each in model.graph.initializer}
    notes = {entry.key: entry.value for entry in model.metadata_props}
    return Graph(
        inputs=tuple(_tensor(path, value) for value in model.graph.input if value.name not in weights),
        outputs=tuple(_tensor(path, value) for value in _outputs(model)),
        opset=opset,
        ir_version=int(model.ir_version),
        external=external,
        labels=_labels(notes),
        preprocessing=_preprocessing(notes),
    )


_proven: dict[str, Batching] = {}


def batching(path: Path, digest: str) -> Batching:
    """Return whether requests may be joined along the graph's first axis, if trainserve.batching can prove it.

    The answer is cached by `digest`, that of the graph's content. Raises UnusableGraph, OSError.
    """
    from trainserve.batching import prove

    if digest not in _proven:
        found = prove(_loaded(path))
        _proven[digest] = Batching(axis="first" if found.first else "none", reason=found.reason)
    return _proven[digest]


def check(path: Path) -> None:
    """Run onnx's own checker, including external data. Raises UnusableGraph.

    The checker refuses an output without a shape, which onnxruntime accepts: such a graph is checked with the inferred
    shape.
    """
    import onnx

    try:
        model = onnx.load(path, load_external_data=False)
        outputs = _outputs(model)
        if outputs == list(model.graph.output):
            onnx.checker.check_model(str(path))
            return
        for value, known in zip(model.graph.output, outputs, strict=True):
            value.CopyFrom(known)
        onnx.checker.check_model(model)
    except Exception as error:  # onnx raises several classes
        words = " ".join(str(error).split())[:500]
        raise UnusableGraph(f"{path}: not a valid ONNX graph: {words}") from None


def _loaded(path: Path) -> onnx.ModelProto:
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        return onnx.load(path, load_external_data=False)
    except DecodeError:
        raise UnusableGraph(f"{path}: {not_onnx.of_file(path) or 'not an ONNX file, or cut off'}") from None


def _outputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """Return the outputs; those without a shape get the one that onnx infers, if it does."""
    import onnx

    def shapeless(value: onnx.ValueInfoProto) -> bool:
        return value.type.WhichOneof("value") == "tensor_type" and not value.type.tensor_type.HasField("shape")

    if not any(map(shapeless, model.graph.output)):
        return list(model.graph.output)
    try:
        inferred = onnx.shape_inference.infer_shapes(model).graph.output
    except Exception:  # onnx raises several classes; a missing shape is reported later
        return list(model.graph.output)
    known = {value.name: value for value in inferred}
    return [known.get(value.name, value) if shapeless(value) else value for value in model.graph.output]


def _tensor(path: Path, value: onnx.ValueInfoProto) -> Tensor:
    import onnx

    _expect_text(path, value.name)
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        raise UnusableGraph(f"{path}: {value.name} is a {(kind or 'thing without a type').removesuffix('_type')}; "
                            f"inputs and outputs must be tensors{_ZIP_MAP if _is_zip_map(value) else ''}")  # fmt: skip
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        raise UnusableGraph(f"{path}: {value.name} has no shape, and none follows from the graph; export the model "
                            "with its shapes")  # fmt: skip
    known = onnx.TensorProto.DataType.values()
    dtype = str(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)) if tensor.elem_type in known[1:] else ""
    if dtype not in TYPES:
        name = onnx.TensorProto.DataType.Name(tensor.elem_type).lower() if dtype else f"number {tensor.elem_type}"
        raise UnusableGraph(f"{path}: {value.name} has type {name}; must be one of {', '.join(TYPES)}")
    return Tensor(name=value.name, dtype=dtype, shape=[_size(axis) for axis in tensor.shape.dim])


_ZIP_MAP = "; convert the scikit-learn model with options={'zipmap': False}, else it ends in a ZipMap"


def _is_zip_map(value: onnx.ValueInfoProto) -> bool:
    """Whether it is a list of maps from class to probability, the default output of skl2onnx's classifiers."""
    return bool(value.type.sequence_type.elem_type.HasField("map_type"))


def _size(axis: Any) -> int:
    return int(axis.dim_value) if axis.dim_value > 0 else -1  # exporters also write 0 and -1 for an axis of any length


def _location(path: Path, tensor: onnx.TensorProto) -> str:
    location = beside.location(tensor)
    if not location:
        raise UnusableGraph(f"{path}: the values of {tensor.name} lie in another file, which is not named")
    _expect_text(path, location)
    inside(path.parent, location)
    return location


def _expect_text(path: Path, name: object) -> None:
    """Raise UnusableGraph for a name that is not UTF-8: ONNX's protobuf 2 messages have bytes in its place."""
    if not isinstance(name, str):
        raise UnusableGraph(f"{path}: {name!r} is not a name: it is not UTF-8")


def _labels(notes: dict[str, str]) -> tuple[str, ...]:
    try:
        found = json.loads(notes.get("labels", "[]"))
    except ValueError:
        return ()
    return tuple(found) if isinstance(found, list) and all(isinstance(each, str) for each in found) else ()


def _preprocessing(notes: dict[str, str]) -> Preprocessing | None:
    try:
        return Preprocessing.model_validate_json(notes["preprocessing"])
    except (KeyError, ValueError):
        return None
