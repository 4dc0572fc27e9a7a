"""Ensembles from raw images to labels, around a graph that has neither preprocessing nor labels itself.

The steps are small ONNX graphs, which the server's onnxruntime backend runs like any other model:
`<name>-preprocessing` (which the manifest leaves to the client) → `<name>` → `<name>-labels` (the most probable labels
and their scores). Unneeded steps are omitted. The model is also served under its own name.
(https://github.com/triton-inference-server/server/blob/main/docs/user_guide/ensemble_models.md)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from trainserve.api.triton import Ensemble
from trainserve.serving.protocol.triton_types import described, messages
from trainserve.serving.repository.settings import InvalidSettings
from trainserve.serving.samples.ensemble_samples import IMAGES, LABELS, SCORES, TAKEN, labels_of, name_of
from trainserve.serving.sources.servable import Servable
from trainserve.store import Preprocessing, Tensor

PREPROCESSED, SCORED = "preprocessed", "scored"
"""Names of the tensors between the steps."""
OPSET, IR_VERSION = 13, 8
"""Old enough for every server: onnxruntime 1.10 (Triton 22.01) supports them."""
_ONNX_TYPES = {
    "uint8": TensorProto.UINT8,
    "float16": TensorProto.FLOAT16,
    "float32": TensorProto.FLOAT,
    "object": TensorProto.STRING,
}


@dataclass(frozen=True)
class Step:
    """A generated graph around the model, as the content of an .onnx file; `gpu` says whether it may run on a GPU."""

    name: str
    graph: bytes
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    gpu: bool


def steps(name: str, model: Servable, scores: str | None, wanted: Ensemble) -> tuple[Step, ...]:
    """Return the steps around a model served as `name`, in order. `scores` is its output with one value per label.

    Raises InvalidSettings if there is no step to add.
    """
    found = []
    if model.preprocessing is not None and model.preprocessing.by == "client":
        found.append(preprocessing(f"{name}-preprocessing", model.inputs[0], model.preprocessing))
    if scores is not None:
        (output,) = (tensor for tensor in model.outputs if tensor.name == scores)
        found.append(labels(labels_of(name), output, model.labels, wanted))
    if not found:
        raise InvalidSettings(
            f"settings.ensemble: model {name} has neither preprocessing that is left to the client nor labels"
        )
    return tuple(found)


def preprocessing(name: str, takes: Tensor, told: Preprocessing) -> Step:
    """Make the step from raw uint8 images (N, H, W, C) to the model's input, (x * scale - mean) / std.

    The input is channels-first (N, C, H, W) or channels-last. Raises InvalidSettings if it takes no images.
    """
    channels = len(told.mean)
    layout = [axis for axis in (1, 3) if len(takes.shape) == 4 and takes.shape[axis] == channels]
    if not layout or takes.dtype not in ("float16", "float32"):
        raise InvalidSettings(
            f"settings.ensemble: the manifest's preprocessing is of images with {channels} channel(s), but input "
            f"{takes.name} is {takes.dtype} {takes.shape}"
        )
    batch, *axes = takes.shape
    planes = layout[0] == 1
    images = Tensor(name=IMAGES, dtype="uint8", shape=[batch, *axes[1:], axes[0]] if planes else [batch, *axes])
    # Transpose before the arithmetic: onnxruntime is 20 times slower on a last axis of a few channels.
    broadcast = (channels, 1, 1) if planes else (channels,)
    order = [0, 3, 1, 2] if planes else [0, 1, 2, 3]
    nodes = [
        helper.make_node("Transpose", [IMAGES], ["laid_out"], perm=order),
        helper.make_node("Cast", ["laid_out"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["numbers", "scale"], ["scaled"]),
        helper.make_node("Sub", ["scaled", "mean"], ["centred"]),
        helper.make_node("Mul", ["centred", "inverse_std"], ["normalised"]),
        helper.make_node("Cast", ["normalised"], [takes.name], to=_ONNX_TYPES[takes.dtype]),
    ]
    constants = {
        "scale": np.array([told.scale], np.float32),
        "mean": np.array(told.mean, np.float32).reshape(broadcast),
        "inverse_std": (1 / np.array(told.std, np.float64)).astype(np.float32).reshape(broadcast),
    }
    weights = [numpy_helper.from_array(array, key) for key, array in constants.items()]
    return Step(name, _graph(nodes, [images], [takes], weights), (images,), (takes,), gpu=True)


def labels(name: str, gives: Tensor, texts: Sequence[str], wanted: Ensemble) -> Step:
    """Make the step from scores (N, classes) to the `top` labels and their scores, each (N, top), the best first.

    Raises InvalidSettings if there are fewer labels, or the scores are not floating-point numbers.
    """
    if wanted.top > len(texts):
        raise InvalidSettings(
            f"settings.ensemble.top: {wanted.top} is not allowed; must be 1 to {len(texts)}, the labels"
        )
    if gives.dtype not in ("float16", "float32"):
        raise InvalidSettings(
            f"settings.ensemble: output {gives.name} is {gives.dtype}; labels need float32 or float16"
        )
    rows = gives.shape[:-1]
    found = (
        Tensor(name=LABELS, dtype="object", shape=[*rows, wanted.top]),
        Tensor(name=SCORES, dtype="float32", shape=[*rows, wanted.top]),
    )
    takes = Tensor(name=TAKEN, dtype=gives.dtype, shape=gives.shape)
    nodes = [
        helper.make_node("Cast", [TAKEN], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("TopK", ["chosen_from", "top"], [SCORES, "positions"], axis=-1, largest=1, sorted=1),
        helper.make_node("Gather", ["texts", "positions"], [LABELS]),
    ]
    nodes.insert(1, helper.make_node("Softmax" if wanted.softmax else "Identity", ["numbers"], ["chosen_from"]))
    weights = [
        numpy_helper.from_array(np.array([wanted.top], np.int64), "top"),
        numpy_helper.from_array(np.array(texts, dtype=object), "texts"),
    ]
    return Step(name, _graph(nodes, [takes], list(found), weights), (takes,), found, gpu=False)


def config(name: str, model: Servable, scores: str | None, around: Sequence[Step], max_batch: int) -> Any:
    """Return the ensemble's ModelConfig: the steps `around` the model that is served as `name`."""
    pb = messages()
    first = next((step for step in around if step.inputs[0].name == IMAGES), None)
    last = next((step for step in around if step.outputs[0].name == LABELS), None)
    inputs = [*(first.inputs if first else model.inputs[:1]), *model.inputs[1:]]
    outputs = last.outputs if last else model.outputs
    made = pb.ModelConfig(
        name=name_of(name),
        platform="ensemble",
        max_batch_size=max_batch,
        input=[pb.ModelInput(**described(tensor, batched=max_batch > 0)) for tensor in inputs],
        output=[pb.ModelOutput(**described(tensor, batched=max_batch > 0)) for tensor in outputs],
    )
    scheduled = made.ensemble_scheduling.step
    if first:
        scheduled.add(
            model_name=first.name,
            model_version=-1,
            input_map={IMAGES: IMAGES},
            output_map={first.outputs[0].name: PREPROCESSED},
        )
    taken = {tensor.name: tensor.name for tensor in model.inputs}
    if first:
        taken[model.inputs[0].name] = PREPROCESSED
    given = {scores: SCORED} if last else {tensor.name: tensor.name for tensor in model.outputs}
    scheduled.add(model_name=name, model_version=-1, input_map=taken, output_map=given)
    if last:
        scheduled.add(
            model_name=last.name,
            model_version=-1,
            input_map={TAKEN: SCORED},
            output_map={LABELS: LABELS, SCORES: SCORES},
        )
    return made


def _graph(
    nodes: Sequence[onnx.NodeProto], inputs: Sequence[Tensor], outputs: Sequence[Tensor], weights: Sequence[Any]
) -> bytes:
    graph = helper.make_graph(list(nodes), "step", _infos(inputs), _infos(outputs), list(weights))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString()
    return content


def _infos(tensors: Sequence[Tensor]) -> list[onnx.ValueInfoProto]:
    return [helper.make_tensor_value_info(each.name, _ONNX_TYPES[each.dtype], _axes(each)) for each in tensors]


def _axes(tensor: Tensor) -> list[int | str]:
    return [f"axis{position}" if size == -1 else size for position, size in enumerate(tensor.shape)]
