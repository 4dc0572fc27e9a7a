"""Writes a Triton model repository for a version of the store: `<repository>/<model>/{config.pbtxt,labels.txt,1/…}`.

The configuration is built from Triton's protobuf messages
(https://github.com/triton-inference-server/common/blob/main/protobuf/model_config.proto).
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import text_format  # type: ignore[import-untyped]

from trainserve.serving.servable import Servable
from trainserve.store import Tensor

LABELS = "labels.txt"
_TYPES = {
    "bool": "TYPE_BOOL",
    "uint8": "TYPE_UINT8",
    "uint16": "TYPE_UINT16",
    "uint32": "TYPE_UINT32",
    "uint64": "TYPE_UINT64",
    "int8": "TYPE_INT8",
    "int16": "TYPE_INT16",
    "int32": "TYPE_INT32",
    "int64": "TYPE_INT64",
    "float16": "TYPE_FP16",
    "float32": "TYPE_FP32",
    "float64": "TYPE_FP64",
}


class UnservableModel(Exception):
    """The version's inputs or outputs cannot be put into Triton's terms; the message names the tensor."""


@dataclass(frozen=True)
class Settings:
    """What a ModelServe may set. `max_queue_delay_us` None: a request never waits for company."""

    max_batch: int = 64
    max_queue_delay_us: int | None = None
    instances: int = 1
    gpus: int = 0
    threads: int = 1


def model_config(name: str, model: Servable, settings: Settings) -> Any:
    """Triton's ModelConfig for a model served under `name`.

    With a batch axis (-1 first in every tensor) requests are gathered up to `max_batch`; a fixed batch is served as
    it is, without batching. Raises UnservableModel.
    """
    messages = _messages()
    config = messages.ModelConfig(
        name=name,
        backend="onnxruntime",
        max_batch_size=settings.max_batch if model.batched else 0,
        input=[messages.ModelInput(**_tensor(tensor, model.batched)) for tensor in model.inputs],
        output=[messages.ModelOutput(**_tensor(tensor, model.batched)) for tensor in model.outputs],
        instance_group=[
            messages.ModelInstanceGroup(
                count=settings.instances,
                kind=messages.ModelInstanceGroup.KIND_GPU if settings.gpus else messages.ModelInstanceGroup.KIND_CPU,
            )
        ],
    )
    config.parameters["intra_op_thread_count"].string_value = str(settings.threads)
    if model.batched:
        config.dynamic_batching.SetInParent()
        if settings.max_queue_delay_us is not None:
            config.dynamic_batching.max_queue_delay_microseconds = settings.max_queue_delay_us
    labelled = labelled_output(model)
    for output in config.output:
        if output.name == labelled:
            output.label_filename = LABELS
    return config


def labelled_output(model: Servable) -> str | None:
    """The first output whose last axis has one value per label."""
    fitting = (tensor.name for tensor in model.outputs if tensor.shape[-1:] == [len(model.labels)])
    return next(fitting, None) if model.labels else None


def config_text(config: Any) -> str:
    """The content of config.pbtxt."""
    return str(text_format.MessageToString(config))


def write(model: Servable, repository: Path, name: str, settings: Settings) -> Path:
    """Makes `repository` hold exactly one model, `name`; returns its folder.

    The graph and its external data are hard links, so the model must lie on the same file system.
    """
    text = config_text(model_config(name, model, settings))
    aside = repository.with_name(f".{repository.name}-{secrets.token_hex(4)}")
    graphs = aside / name / "1"
    graphs.mkdir(parents=True)
    for file in model.files:
        os.link(model.folder / file, graphs / file)
    (aside / name / "config.pbtxt").write_text(text)
    if labelled_output(model):
        (aside / name / LABELS).write_text("".join(_label_lines(model.labels)))
    if repository.exists():
        shutil.rmtree(repository)
    aside.rename(repository)
    return repository / name


def _label_lines(labels: Iterable[str]) -> Iterable[str]:
    # Triton reads one label a line and knows no escape.
    return (" ".join(label.split()) + "\n" for label in labels)


def _tensor(tensor: Tensor, batched: bool) -> dict[str, Any]:
    if tensor.dtype not in _TYPES:
        raise UnservableModel(f"tensor {tensor.name}: dtype {tensor.dtype} is not one of {', '.join(_TYPES)}")
    dims = tensor.shape[1:] if batched else tensor.shape
    if any(size == 0 or size < -1 for size in dims):
        raise UnservableModel(f"tensor {tensor.name}: shape {tensor.shape} has an axis that is neither positive nor -1")
    return {"name": tensor.name, "data_type": _messages().DataType.Value(_TYPES[tensor.dtype]), "dims": dims}


@cache
def _messages() -> Any:
    """tritonclient's model_config_pb2, without the gRPC that its package imports: 0.02 s instead of 0.2 s."""
    package = importlib.util.find_spec("tritonclient")
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError("tritonclient is not installed; pip install 'trainserve[serve]'", name="tritonclient")
    path = Path(package.submodule_search_locations[0]) / "grpc" / "model_config_pb2.py"
    spec = importlib.util.spec_from_file_location("trainserve.serving._model_config_pb2", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
