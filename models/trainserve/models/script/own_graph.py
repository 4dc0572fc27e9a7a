"""A `model.onnx` written by the script: checked like an exported one, with inputs and outputs read from it.

`samples.npz` beside it (an array for every input and output, and `labels`, all with the same first axis) holds the
results of the script's framework, with which the file is compared. Without it the right outputs are unknown: random
inputs and onnxruntime's own outputs are recorded to verify servers, and the manifest says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trainserve import store
from trainserve.models import gathering, onnx_file, parity, pools
from trainserve.models.artifact import SAMPLES
from trainserve.models.errors import ConfigError, ParityFailed, ScriptError
from trainserve.models.evaluate import Answers
from trainserve.models.export import MAX_IR_VERSION
from trainserve.models.report.facts import Tested
from trainserve.models.scoring import measured
from trainserve.models.script import requests
from trainserve.models.script.config import ScriptConfig
from trainserve.models.script.network import are_shares
from trainserve.store import beside

if TYPE_CHECKING:
    import onnx

MODEL = "model.onnx"
OPSETS = range(7, 22)
"""Opsets that every onnxruntime from 1.19 on loads."""
_TAKEN = (MODEL, SAMPLES, store.MANIFEST, store.REPORT)
"""Names of the version's other files."""
_RANDOM = 64
_BATCHES = (64, 7)

Arrays = Mapping[str, NDArray[Any]]
_DTYPES = (
    *("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
    *("float16", "float32", "float64", "object"),
)
"""Types that a server supports (serving/protocol/triton_types.py); strings are objects."""


@dataclass(frozen=True)
class OwnGraph:
    """A checked graph that is not published yet. `parity.reference`: what its outputs were compared with."""

    files: Mapping[str, Path]
    opset: int
    ir_version: int
    inputs: list[store.Tensor]
    outputs: list[store.Tensor]
    samples: Arrays
    parity: store.Parity
    accuracy: float | None
    loss: float | None
    batching: store.Batching
    session: Any = field(repr=False)
    """The onnxruntime session of the file."""

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(path.stat().st_size for path in self.files.values())

    def batch(self, size: int) -> Callable[[], object]:
        """A function that runs the graph in onnxruntime on a batch of `size` samples."""
        names = [each.name for each in self.inputs]
        if self.batching.axis == "none":  # one request, unchanged
            request = {name: np.asarray(self.samples[name][0]) for name in names}
            return lambda: self.session.run(None, request)
        feed = {name: self.samples[name][np.arange(size) % len(self.samples[name])] for name in names}
        return lambda: self.session.run(None, feed)

    def tested(self) -> Tested | None:
        """The recorded samples if they have class numbers and the first output is probabilities, else None."""
        answers, labels = self.samples[self.outputs[0].name], self.samples.get("labels")
        if self.loss is None or labels is None:
            return None
        by = "the script's framework; samples.npz has what it recorded"
        return Tested(self.samples[self.inputs[0].name], labels, Answers.of(answers, "classification"), by)

    def __str__(self) -> str:
        compared = self.parity
        told = (
            f"max abs {compared.max_abs:.2g} from the script's own {compared.samples} samples"
            if compared.max_abs is not None
            else "no samples.npz beside it: not compared with anything"
        )
        return f"opset {self.opset}, IR {self.ir_version}; {told}"

    def record(self, folder: Path) -> Mapping[str, Path]:
        """Write the samples into `folder`; returns all files of the version by name."""
        arrays: dict[str, Any] = dict(self.samples)
        np.savez(folder / SAMPLES, **arrays)
        return {**self.files, SAMPLES: folder / SAMPLES}

    def draft(self, config: ScriptConfig, metrics: store.Metrics, energy: store.Energy) -> store.ManifestDraft:
        """The manifest without the version's number."""
        job = config.job
        return store.ManifestDraft(
            opset=self.opset,
            ir_version=self.ir_version,
            inputs=self.inputs,
            outputs=self.outputs,
            labels=_labels(self.outputs[0]),
            preprocessing=store.Preprocessing(scale=1.0, mean=[0.0], std=[1.0]),
            metrics=metrics,
            parity=self.parity,
            energy=energy,
            batching=self.batching,
            train_job=store.TrainJobRef(name=job.name, uid=job.uid, attempt=job.attempt),
            spec=config.spec(),
        )


def _labels(output: store.Tensor) -> list[str]:
    """Class numbers as labels if the output is (N, K), else none."""
    return [str(number) for number in range(output.shape[1])] if len(output.shape) == 2 else []


def take(folder: Path, config: ScriptConfig) -> OwnGraph:
    """Check the script's file in `folder`. Raises ScriptError if it cannot be served, ParityFailed where it differs."""
    if config.export.precision != "fp32" or config.export.top_k is not None:
        raise ConfigError(f"export: precision and topK are not allowed where the script writes {MODEL} itself")
    model = _checked(folder / MODEL)
    weights = {initializer.name for initializer in model.graph.initializer}
    inputs = [_tensor(value) for value in model.graph.input if value.name not in weights]
    outputs = [_tensor(value) for value in model.graph.output]
    files = _files(folder, model)
    session = _session(folder / MODEL)
    bound, batching = parity.tolerance(config.export), gathering.of_file(folder / MODEL)
    opset, version = onnx_file.opset(model), model.ir_version
    if batching.axis == "none":
        samples, compared = _whole(folder / SAMPLES, session, inputs, outputs, bound)
        return OwnGraph(files, opset, version, inputs, outputs, samples, compared, None, None, batching, session)
    own = _recorded(folder / SAMPLES, [*inputs, *outputs])
    if own is None:
        given = _random(inputs)
        samples = given | _run(session, outputs, given, _BATCHES[0])
        compared = store.Parity(
            max_abs=None, max_rel=None, rtol=bound.rtol, atol=bound.atol, samples=0, reference="none"
        )
        accuracy, loss = None, None
    else:
        samples = own
        runs = [_run(session, outputs, {each.name: own[each.name] for each in inputs}, size) for size in _BATCHES]
        worst = [_difference(each.name, own[each.name], run[each.name], bound) for run in runs for each in outputs]
        compared = _parity(worst, bound, len(own[inputs[0].name]))
        accuracy, loss = _measured(own, outputs[0])
    return OwnGraph(files, opset, version, inputs, outputs, samples, compared, accuracy, loss, batching, session)


def _whole(
    path: Path, session: Any, inputs: list[store.Tensor], outputs: list[store.Tensor], bound: parity.Tolerance
) -> tuple[Arrays, store.Parity]:
    """Samples and parity of a graph without a batch axis. Raises ScriptError, ParityFailed."""
    own = requests.given(path, inputs, outputs)
    if own is None:
        none = store.Parity(max_abs=None, max_rel=None, rtol=bound.rtol, atol=bound.atol, samples=0, reference="none")
        return requests.made_up(session, inputs, outputs), none
    try:
        worst = _compared(session, inputs, outputs, own, bound)
    except ParityFailed:
        alone = requests.rows(own)  # the script may have run each row by itself
        if alone is None:
            raise
        own, worst = alone, _compared(session, inputs, outputs, alone, bound)
    return own, _parity(worst, bound, len(own[inputs[0].name]))


def _parity(worst: list[tuple[float, float]], bound: parity.Tolerance, samples: int) -> store.Parity:
    return store.Parity(
        max_abs=max(absolute for absolute, _ in worst),
        max_rel=max(relative for _, relative in worst),
        rtol=bound.rtol,
        atol=bound.atol,
        samples=samples,
        reference="script",
    )


def _compared(
    session: Any, inputs: list[store.Tensor], outputs: list[store.Tensor], own: Arrays, bound: parity.Tolerance
) -> list[tuple[float, float]]:
    answers = requests.answers(session, outputs, own, inputs)
    return [
        _difference(each.name, own[each.name][at], answer[each.name], bound)
        for at, answer in enumerate(answers)
        for each in outputs
    ]


def _checked(path: Path) -> onnx.ModelProto:
    import onnx

    try:
        pools.full_check(path)
        model = onnx.load(path, load_external_data=False)
    except Exception as error:
        raise ScriptError(f"{MODEL}: not a valid ONNX model: {' '.join(str(error).split())}") from None
    if (opset := onnx_file.opset(model)) not in OPSETS:
        raise ScriptError(f"{MODEL}: opset {opset} is not allowed; must be {OPSETS.start} to {OPSETS.stop - 1}")
    if model.ir_version > MAX_IR_VERSION:
        raise ScriptError(f"{MODEL}: IR version {model.ir_version} is not allowed; must be <= {MAX_IR_VERSION}")
    return model


def _files(folder: Path, model: onnx.ModelProto) -> dict[str, Path]:
    """The model file and its external weights. Raises ScriptError for a name that a version cannot have."""
    locations = {beside.location(tensor) for tensor in beside.tensors(model)}
    for location in locations:
        if not isinstance(location, str) or not store.is_file(location) or location in _TAKEN:
            raise ScriptError(
                f"{MODEL}: weights are in {location!r}; must be a file beside it, named with letters, digits, '_', '-' "
                f"and '.', and not {', '.join(_TAKEN)}"
            )
        if not (folder / location).is_file():
            raise ScriptError(f"{MODEL}: weights are in {location!r}, which does not exist beside it")
    return {name: folder / name for name in [MODEL, *sorted(locations)]}


def _tensor(value: onnx.ValueInfoProto) -> store.Tensor:
    """Name, type and shape, -1 for a variable axis. Raises ScriptError for types that a server does not support."""
    import onnx

    kind = value.type.tensor_type
    if value.type.WhichOneof("value") != "tensor_type" or not kind.HasField("shape"):
        raise ScriptError(f"{MODEL}: {value.name} must be a tensor with a shape, as all inputs and outputs")
    shape = [axis.dim_value if axis.dim_value > 0 else -1 for axis in kind.shape.dim]
    dtype = str(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
    if dtype not in _DTYPES:
        raise ScriptError(f"{MODEL}: {value.name} has type {dtype}; must be one of {', '.join(_DTYPES)}")
    return store.Tensor(name=value.name, dtype=dtype, shape=shape)


def _session(path: Path) -> Any:
    import onnxruntime  # type: ignore[import-untyped]

    try:
        return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ScriptError(f"{MODEL}: onnxruntime cannot load it: {' '.join(str(error).split())}") from None


def _recorded(path: Path, tensors: list[store.Tensor]) -> dict[str, NDArray[Any]] | None:
    """The script's samples.npz, None without one. Raises ScriptError for an array that is missing or misfits."""
    arrays = requests.recorded(path, tensors)
    if arrays is None:
        return None
    for tensor in tensors:
        array = arrays[tensor.name]
        fits = array.ndim == len(tensor.shape) and all(
            size in (-1, length) for size, length in zip(tensor.shape[1:], array.shape[1:], strict=True)
        )
        text = tensor.dtype == "object" and array.dtype.kind in "SU"
        if not fits or not (text or str(array.dtype) == tensor.dtype):
            raise ScriptError(
                f"{SAMPLES}: {tensor.name} is {array.dtype} {list(array.shape)}; must be {tensor.dtype} {tensor.shape}"
            )
    if len({len(array) for array in arrays.values()}) != 1 or not len(arrays[tensors[0].name]):
        counts = ", ".join(f"{name} {len(array)}" for name, array in arrays.items())
        raise ScriptError(f"{SAMPLES}: every array must have the same number of samples, at least 1; found {counts}")
    return arrays


def _random(inputs: list[store.Tensor]) -> dict[str, NDArray[Any]]:
    """Random inputs, the same in every run."""
    generator = np.random.default_rng(0)
    rows = [each.model_copy(update={"shape": [_RANDOM, *each.shape[1:]]}) for each in inputs]
    return {each.name: requests.random(each, generator) for each in rows}


def _run(session: Any, outputs: list[store.Tensor], given: Arrays, batch: int) -> dict[str, NDArray[Any]]:
    names = [each.name for each in outputs]
    parts = []
    for start in range(0, len(next(iter(given.values()))), batch):
        try:
            parts.append(session.run(names, {name: array[start : start + batch] for name, array in given.items()}))
        except Exception as error:
            raise ScriptError(f"{MODEL}: onnxruntime cannot run it: {' '.join(str(error).split())}") from None
    whole = {name: np.concatenate([part[position] for part in parts]) for position, name in enumerate(names)}
    return {name: array.astype(str) if array.dtype == object else array for name, array in whole.items()}


def _difference(name: str, expected: NDArray[Any], got: NDArray[Any], bound: parity.Tolerance) -> tuple[float, float]:
    if got.shape != expected.shape:
        raise ParityFailed(f"{MODEL}: {name} has shape {list(got.shape)}; {SAMPLES} has {list(expected.shape)}")
    if expected.dtype.kind in "SU":
        if not (expected.astype(str) == got.astype(str)).all():
            raise ParityFailed(f"{MODEL}: {name} gives other strings than {SAMPLES}")
        return 0.0, 0.0
    wide = expected.astype(np.float64)
    with np.errstate(invalid="ignore"):  # inf - inf
        alike = (got == wide) | (np.isnan(got.astype(np.float64)) & np.isnan(wide))
        difference, size = np.abs(np.where(alike, 0.0, got - wide)), np.abs(np.where(np.isfinite(wide), wide, 0.0))
    # Written so that a NaN is never within the bound.
    if not (difference <= bound.atol + bound.rtol * size).all():
        raise ParityFailed(
            f"{MODEL}: {name} differs from {SAMPLES} by up to {difference.max():.3g}; must be at most "
            f"{bound.atol:g} + {bound.rtol:g} * |recorded|"
        )
    return float(difference.max()), float((difference / np.maximum(size, np.finfo(np.float32).tiny)).max())


def _measured(samples: Arrays, output: store.Tensor) -> tuple[float | None, float | None]:
    """Accuracy and loss if the samples have class numbers and the first output is (N, K), else None.

    A single output is that of class 1 of two: a probability if all are in 0..1, else a logit.
    """
    labels = samples.get("labels")
    if labels is None or labels.dtype.kind not in "iu" or labels.ndim != 1 or len(output.shape) != 2:
        return None, None
    answers = samples[output.name]
    if output.shape[1] == 1 and np.isin(labels, (0, 1)).all():
        middle = 0.5 if ((answers >= 0) & (answers <= 1)).all() else 0.0
        return float(((answers[:, 0] > middle) == labels).mean()), None
    if not 0 <= labels.min() <= labels.max() < output.shape[1]:
        return None, None
    accuracy, loss = measured(answers, labels, "classification")
    return accuracy, loss if are_shares(answers) else None
