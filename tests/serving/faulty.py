"""A version and faulty models to serve in its place: real instances of each fault that verification must tell apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from google.protobuf import text_format
from onnx import TensorProto, helper, numpy_helper
from tritonclient.grpc import model_config_pb2 as messages

from trainserve.api.triton import DynamicBatching, Ensemble
from trainserve.serving.repository.repository import Entry, write
from trainserve.serving.repository.settings import Settings
from trainserve.serving.samples.recorded import Recorded
from trainserve.serving.sources.servable import Servable
from trainserve.store import ManifestDraft, Metrics, Parity, Preprocessing, Published, Tensor, TrainJobRef, publish

LABELS = ["ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen"]
MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)


def network(*, mean: tuple[float, ...] = MEAN, std: tuple[float, ...] = STD, seed: int = 0) -> onnx.ModelProto:
    """Return a network, uint8 images (batch, 16, 16, 3) to float32 probabilities (batch, 8), that normalises itself."""
    generator = np.random.default_rng(seed)

    def weight(name: str, *shape: int, gain: float = 1.0) -> onnx.TensorProto:
        scale = gain / np.sqrt(np.prod(shape[1:]))
        return numpy_helper.from_array((generator.standard_normal(shape) * scale).astype(np.float32), name)

    nodes = [
        helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "scale"], ["scaled"]),
        helper.make_node("Sub", ["scaled", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "std"], ["normalised"]),
        helper.make_node("Transpose", ["normalised"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "filters"], ["convolved"]),
        helper.make_node("Tanh", ["convolved"], ["activated"]),
        helper.make_node("AveragePool", ["activated"], ["pooled"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "dense1"], ["hidden"], transB=1),
        helper.make_node("Tanh", ["hidden"], ["hidden_activated"]),
        helper.make_node("Gemm", ["hidden_activated", "dense2"], ["logits"], transB=1),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    weights = [
        numpy_helper.from_array(np.array(1 / 255, np.float32), "scale"),
        numpy_helper.from_array(np.array(mean, np.float32), "mean"),
        numpy_helper.from_array(np.array(std, np.float32), "std"),
        weight("filters", 16, 3, 3, 3, gain=2),
        weight("dense1", 64, 16 * 7 * 7, gain=2),
        weight("dense2", len(LABELS), 64, gain=2),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", 16, 16, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", len(LABELS)])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return model


def images(count: int, seed: int = 1) -> np.ndarray:
    """Return random uint8 images (count, 16, 16, 3) with some structure: random colours with noise."""
    generator = np.random.default_rng(seed)
    colours = generator.integers(0, 256, (count, 4, 4, 3))
    noise = generator.normal(0, 20, (count, 16, 16, 3))
    return np.clip(colours.repeat(4, 1).repeat(4, 2) + noise, 0, 255).astype(np.uint8)


def answers(model: onnx.ModelProto, inputs: np.ndarray) -> np.ndarray:
    """Return probabilities (count, 8)."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"images": inputs})[0]


def answered(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the correct network's outputs by name."""
    return {"probabilities": answers(network(), inputs["images"])}


def publish_network(root: Path, work: Path, model: onnx.ModelProto, *, labels: list[str] = LABELS) -> Published:
    """Publish the next version of default/animals: the graph, and its answers to 64 images."""
    inputs = images(64)
    probabilities = answers(model, inputs)
    work.mkdir(parents=True, exist_ok=True)
    onnx.save(model, work / "model.onnx")
    truth = probabilities.argmax(axis=1)
    np.savez(work / "samples.npz", images=inputs, probabilities=probabilities, labels=truth)
    draft = ManifestDraft(
        opset=18,
        ir_version=10,
        inputs=[Tensor(name="images", dtype="uint8", shape=[-1, 16, 16, 3])],
        outputs=[Tensor(name="probabilities", dtype="float32", shape=[-1, len(LABELS)])],
        labels=labels,
        preprocessing=Preprocessing(scale=1 / 255, mean=list(MEAN), std=list(STD)),
        metrics=Metrics(accuracy=1.0, loss=0.1),
        parity=Parity(max_abs=0.0, max_rel=0.0, rtol=1e-3, atol=1e-5, samples=64),
        train_job=TrainJobRef(name="animals"),
        spec={},
    )
    files = {"model.onnx": work / "model.onnx", "samples.npz": work / "samples.npz"}
    return publish(root, "default", "animals", files, draft)


def half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the network in half precision, after a normalisation in single precision."""
    found = onnx.ModelProto.FromString(model.SerializeToString())
    for weight in found.graph.initializer:
        if weight.name in ("filters", "dense1", "dense2"):
            weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight).astype(np.float16), weight.name))
    nodes = list(found.graph.node)
    for node in nodes:
        if node.op_type == "Conv":
            node.input[0] = "half"
        if node.op_type == "Softmax":
            node.input[0] = "wide"
    nodes.insert(5, helper.make_node("Cast", ["planes"], ["half"], to=TensorProto.FLOAT16))
    nodes.insert(len(nodes) - 1, helper.make_node("Cast", ["logits"], ["wide"], to=TensorProto.FLOAT))
    del found.graph.node[:]
    found.graph.node.extend(nodes)
    onnx.checker.check_model(found)
    return found


def quantised(model: onnx.ModelProto, folder: Path) -> onnx.ModelProto:
    """Return the network with 8-bit weights and activations, calibrated on other images."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Calibration(CalibrationDataReader):
        def __init__(self) -> None:
            self.batches = iter([{"images": images(128, seed=2)}])

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.batches, None)

    onnx.save(model, folder / "wide.onnx")
    quantize_static(
        folder / "wide.onnx",
        folder / "int8.onnx",
        Calibration(),
        per_channel=True,
        reduce_range=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["Conv", "Gemm"],
    )
    return onnx.load(folder / "int8.onnx")


def altered(model: onnx.ModelProto, name: str, change: Callable[[np.ndarray], np.ndarray]) -> onnx.ModelProto:
    """Return the network with one of its tensors changed."""
    found = onnx.ModelProto.FromString(model.SerializeToString())
    for weight in found.graph.initializer:
        if weight.name == name:
            weight.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(weight).copy()), name))
    return found


def flipped(content: bytes, model: onnx.ModelProto, name: str) -> bytes:
    """Return the file with one bit of one weight's exponent flipped."""
    (weight,) = (weight for weight in model.graph.initializer if weight.name == name)
    found = bytearray(content)
    found[content.index(weight.raw_data) + 3] ^= 0b10  # little endian: multiplies the weight by 2^4 or 2^-4
    return bytes(found)


def reversed_channels(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the network with its input channels reversed, so that it expects BGR images."""
    return _behind(model, [helper.make_node("Gather", ["images", "backwards"], ["turned"], axis=3)], "turned")


def mixing(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the network with a mean over the batch, which mixes the rows."""
    mean = helper.make_node("ReduceMean", ["logits", "rows"], ["middle"], keepdims=1)
    half = helper.make_node("Mean", ["logits", "middle"], ["mixed"])
    return _before_softmax(model, [mean, half], "mixed")


def failing(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a network that loads, and fails on every run."""
    return _before_softmax(model, [helper.make_node("Reshape", ["logits", "impossible"], ["shaped"])], "shaped")


_CONSTANTS = {
    "backwards": np.array([2, 1, 0], np.int64),
    "rows": np.array([0], np.int64),
    "impossible": np.array([-1, 7], np.int64),
}


def _behind(model: onnx.ModelProto, nodes: list[onnx.NodeProto], name: str) -> onnx.ModelProto:
    found = onnx.ModelProto.FromString(model.SerializeToString())
    found.graph.node[0].input[0] = name
    return _with(found, [*nodes, *found.graph.node])


def _before_softmax(model: onnx.ModelProto, nodes: list[onnx.NodeProto], name: str) -> onnx.ModelProto:
    found = onnx.ModelProto.FromString(model.SerializeToString())
    *first, softmax = found.graph.node
    softmax.input[0] = name
    return _with(found, [*first, *nodes, softmax])


def _with(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> onnx.ModelProto:
    found = onnx.ModelProto.FromString(model.SerializeToString())
    del found.graph.node[:]
    found.graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    constants = [numpy_helper.from_array(value, name) for name, value in _CONSTANTS.items() if name in used]
    found.graph.initializer.extend(constants)
    onnx.checker.check_model(found)
    return found


def place(repository: Path, name: str, graph: bytes, labels: list[str] = LABELS, digest: str = "") -> None:
    """Write `graph` as a model of a repository, as TrainServe does; `digest` is the one that its configuration has."""
    config = messages.ModelConfig(
        name=name,
        backend="onnxruntime",
        max_batch_size=16,
        input=[messages.ModelInput(name="images", data_type=messages.TYPE_UINT8, dims=[16, 16, 3])],
        output=[_probabilities(messages.ModelOutput, label_filename="labels.txt")],
        instance_group=[messages.ModelInstanceGroup(count=1, kind=messages.ModelInstanceGroup.KIND_CPU)],
    )
    config.dynamic_batching.SetInParent()
    if digest:
        config.parameters["trainserve_digest_1"].string_value = digest
    folder = repository / name
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.onnx").write_bytes(graph)
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in labels))
    (folder / "config.pbtxt").write_text(text_format.MessageToString(config))


def place_ensemble(repository: Path, name: str, *steps: str) -> None:
    """Write an ensemble whose steps all take the images; it answers with the first one's output."""
    scheduling = messages.ModelEnsembling(
        step=[
            messages.ModelEnsembling.Step(
                model_name=step,
                model_version=-1,
                input_map={"images": "images"},
                output_map={"probabilities": f"unused{position}" if position else "probabilities"},
            )
            for position, step in enumerate(steps)
        ]
    )
    outputs = [_probabilities(messages.ModelOutput, name=f"unused{position}") for position in range(1, len(steps))]
    config = messages.ModelConfig(
        name=name,
        platform="ensemble",
        max_batch_size=16,
        input=[messages.ModelInput(name="images", data_type=messages.TYPE_UINT8, dims=[16, 16, 3])],
        output=[_probabilities(messages.ModelOutput), *outputs],
        ensemble_scheduling=scheduling,
    )
    (repository / name / "1").mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(text_format.MessageToString(config))


def place_around(repository: Path, aside: Path, name: str, model: Servable, wanted: Ensemble, **graphs: bytes) -> None:
    """Write `model` and the ensemble around it as TrainServe does; `graphs` replace its steps' graphs, by step name."""
    settings = Settings(dynamic_batching=DynamicBatching(max_batch=16), ensemble=wanted)
    write([Entry(name, model, settings)], aside)
    for step, graph in graphs.items():
        (aside / f"{name}-{step}/1/model.onnx").write_bytes(graph)
    for folder in aside.iterdir():
        folder.rename(repository / folder.name)


def bare(model: onnx.ModelProto, folder: Path) -> tuple[Servable, Recorded]:
    """Return the network without normalisation and softmax, which are left to the client: planes to logits."""
    whole = onnx.shape_inference.infer_shapes(model)
    folder.mkdir()
    onnx.save(onnx.utils.Extractor(whole).extract_model(["planes"], ["logits"]), folder / "model.onnx")
    preprocessing = Preprocessing(scale=1 / 255, mean=list(MEAN), std=list(STD), by="client")
    planes = ((images(64) / 255 - MEAN) / STD).transpose(0, 3, 1, 2).astype(np.float32)
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    logits = session.run(None, {"planes": planes})[0]
    servable = Servable(
        name="bare",
        folder=folder,
        digest="",
        files=("model.onnx",),
        inputs=(Tensor(name="planes", dtype="float32", shape=[-1, 3, 16, 16]),),
        outputs=(Tensor(name="logits", dtype="float32", shape=[-1, len(LABELS)]),),
        labels=tuple(LABELS),
        preprocessing=preprocessing,
    )
    return servable, Recorded({"planes": planes}, {"logits": logits}, rtol=1e-3, atol=1e-5)


def _probabilities(message: Any, **fields: Any) -> Any:
    return message(**{"name": "probabilities", "data_type": messages.TYPE_FP32, "dims": [len(LABELS)]} | fields)
