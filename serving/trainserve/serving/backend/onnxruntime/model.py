"""The `onnxruntime` backend for a Triton that has the python backend only (the development server).

It serves the repositories of the official C++ onnxruntime backend unchanged: `<model>/<version>/model.onnx` (or
`default_model_filename`) and the parameters `intra_op_thread_count` and `inter_op_thread_count`
(https://github.com/triton-inference-server/onnxruntime_backend). Triton copies nothing of this project into the
process it runs in: numpy, onnxruntime, `triton_python_backend_utils` and this folder are all there is.

The requests of one batch become one onnxruntime run. If that run fails, each request is run alone, so that the error
of one is not the error of its neighbours. Where the time of a request goes is told by bench/serving.py.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found]
from on_device import OnDevice  # type: ignore[import-not-found]

_TRITON_TYPES = {
    "tensor(bool)": "TYPE_BOOL",
    "tensor(uint8)": "TYPE_UINT8",
    "tensor(uint16)": "TYPE_UINT16",
    "tensor(uint32)": "TYPE_UINT32",
    "tensor(uint64)": "TYPE_UINT64",
    "tensor(int8)": "TYPE_INT8",
    "tensor(int16)": "TYPE_INT16",
    "tensor(int32)": "TYPE_INT32",
    "tensor(int64)": "TYPE_INT64",
    "tensor(float16)": "TYPE_FP16",
    "tensor(float)": "TYPE_FP32",
    "tensor(double)": "TYPE_FP64",
    "tensor(string)": "TYPE_STRING",
}


class TritonPythonModel:
    """One instance of one model."""

    @staticmethod
    def auto_complete_config(config: Any) -> Any:
        """Fills what the configuration leaves out from the graph; the server calls it unless told not to."""
        given = config.as_dict()
        if given["input"] and given["output"]:
            return config
        session = _session(
            Path(pb_utils.get_model_dir()) / (given.get("default_model_filename") or "model.onnx"), threads=1, between=1
        )
        tensors = [*session.get_inputs(), *session.get_outputs()]
        batched = all(tensor.shape and not isinstance(tensor.shape[0], int) for tensor in tensors)
        if batched and not given["max_batch_size"]:
            config.set_max_batch_size(4)  # the C++ backend's default-max-batch-size
            config.set_dynamic_batching()
        batched = batched and config.as_dict()["max_batch_size"] > 0
        for tensor in session.get_inputs():
            config.add_input(_tensor_config(tensor, batched))
        for tensor in session.get_outputs():
            config.add_output(_tensor_config(tensor, batched))
        return config

    def initialize(self, args: dict[str, str]) -> None:
        """Loads the graph."""
        config = json.loads(args["model_config"])
        parameters = {key: value["string_value"] for key, value in config.get("parameters", {}).items()}
        name = config.get("default_model_filename") or "model.onnx"
        gpu = int(args["model_instance_device_id"]) if args["model_instance_kind"] == "GPU" else None
        self._session = _session(
            Path(args["model_repository"]) / args["model_version"] / name,
            threads=int(parameters.get("intra_op_thread_count", 1)),
            between=int(parameters.get("inter_op_thread_count", 1)),
            gpu=gpu,
        )
        self._on_device = None if gpu is None else OnDevice(self._session, "cuda", gpu)
        self._inputs = [tensor.name for tensor in self._session.get_inputs()]
        self._takes_text = any(tensor.type == "tensor(string)" for tensor in self._session.get_inputs())
        self._outputs = [tensor.name for tensor in self._session.get_outputs()]
        self._rows = [_Rows(name) for name in self._outputs]
        self._batched = config["max_batch_size"] > 0
        gc.freeze()  # what is loaded now stays: the collector need not walk through it between requests

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response per request, in order."""
        if self._batched and not (self._on_device and any(map(self._on_device.has, requests))):
            with contextlib.suppress(Exception):  # whatever it is, running each alone tells whose it is
                return self._together(requests)
        return [self._alone(request) for request in requests]

    def _together(self, requests: list[Any]) -> list[Any]:
        given = self._arrays(requests)
        lengths = [len(array) for array in given[0]]
        results = self._run([np.concatenate(arrays) for arrays in given] if requests[1:] else [a for (a,) in given])
        cut = [rows.tensors(result, lengths) for rows, result in zip(self._rows, results, strict=True)]
        if len(cut) == 1:
            return [pb_utils.InferenceResponse([tensor]) for tensor in cut[0]]
        return [self._response(request, tensors) for request, *tensors in zip(requests, *cut, strict=True)]

    def _alone(self, request: Any) -> Any:
        try:
            if self._on_device and self._on_device.has(request):
                return self._response(request, self._on_device.tensors(request))
            results = self._run([array for (array,) in self._arrays([request])])
            return self._response(request, list(map(pb_utils.Tensor, self._outputs, results)))
        except Exception as error:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(f"onnxruntime: {error}"))

    def _arrays(self, requests: list[Any]) -> list[list[Any]]:
        """Of each of the graph's inputs, what every request gives."""
        if len(self._inputs) == 1:  # whose name need not be asked for
            given = [[request.inputs()[0].as_numpy() for request in requests]]
        else:
            named = [{tensor.name(): tensor for tensor in request.inputs()} for request in requests]
            given = [[tensors[name].as_numpy() for tensors in named] for name in self._inputs]
        return [[_text(array) for array in arrays] for arrays in given] if self._takes_text else given

    def _run(self, arrays: list[Any]) -> list[Any]:
        return list(self._session.run(self._outputs, dict(zip(self._inputs, arrays, strict=True))))

    def _response(self, request: Any, tensors: list[Any]) -> Any:
        wanted = set(request.requested_output_names())
        pairs = zip(tensors, self._outputs, strict=True)
        return pb_utils.InferenceResponse([tensor for tensor, name in pairs if name in wanted])


class _Rows:
    """Cuts an output into its requests' tensors; those of one row are made once and filled again for every batch.

    Making a tensor costs 3.5 us, most of it in comparing its dtype with each of numpy's. Its values move into the
    memory that is shared with the server when it is first sent, and are read there whenever it is sent again: so a row
    is written to where its tensor says (DLPack) that the values are. The server has read all answers of a batch before
    it gives the next one to the same instance; one row must not be cut twice in a batch.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._tensors: list[Any] = []
        self._memory: list[Any] = []
        """Of each tensor: an array (1, ...) over its values."""
        self._unmoved: list[int] = []
        """Tensors that were not sent when last looked at."""

    def tensors(self, result: Any, lengths: list[int]) -> list[Any]:
        """`result` (rows, ...) as a tensor for each request; `lengths` says how many rows each has."""
        count = len(lengths)
        if len(result) == count and result.size and result.dtype.kind in "fiu":
            return self._filled(result)
        if len(result) != sum(lengths):
            raise ValueError(f"output {self._name} has {len(result)} rows for {sum(lengths)}")
        ends = accumulate(lengths)
        return [
            pb_utils.Tensor(self._name, result[end - length : end]) for length, end in zip(lengths, ends, strict=True)
        ]

    def _filled(self, result: Any) -> list[Any]:
        count = len(result)
        if self._memory and (self._memory[0].shape[1:] != result.shape[1:] or self._memory[0].dtype != result.dtype):
            self._tensors, self._memory, self._unmoved = [], [], []
        self._unmoved = [index for index in self._unmoved if not self._found(index)]
        for index in range(len(self._tensors), count):
            self._memory.append(np.empty_like(result[:1]))
            self._tensors.append(pb_utils.Tensor(self._name, self._memory[index]))
            self._unmoved.append(index)
        for memory, row in zip(self._memory, result, strict=False):
            memory[0] = row
        return self._tensors[:count]

    def _found(self, index: int) -> bool:
        """Whether the tensor's values have moved; if so they are found again."""
        values = np.from_dlpack(self._tensors[index])
        if values.ctypes.data == self._memory[index].ctypes.data:
            return False
        memory = memoryview((ctypes.c_char * values.nbytes).from_address(values.ctypes.data))
        self._memory[index] = np.ndarray(values.shape, values.dtype, memory)  # numpy's own view is read-only
        return True


def _text(array: Any) -> Any:
    """Triton hands strings over as bytes; onnxruntime takes text."""
    if not array.dtype.hasobject:
        return array
    return np.array([each.decode() for each in array.flat], dtype=object).reshape(array.shape)


def _session(path: Path, *, threads: int, between: int, gpu: int | None = None) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = between
    providers: list[Any] = ["CPUExecutionProvider"]
    if gpu is not None:
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": gpu}))
    return onnxruntime.InferenceSession(str(path), options, providers=providers)


def _tensor_config(tensor: Any, batched: bool) -> dict[str, Any]:
    shape = [size if isinstance(size, int) else -1 for size in tensor.shape]
    return {"name": tensor.name, "data_type": _TRITON_TYPES[tensor.type], "dims": shape[1:] if batched else shape}
