"""The `onnxruntime` backend for a Triton that has the python backend only (the development server).

It serves the repositories of the official C++ onnxruntime backend unchanged: `<model>/<version>/model.onnx` (or
`default_model_filename`) and the parameters `intra_op_thread_count` and `inter_op_thread_count`
(https://github.com/triton-inference-server/onnxruntime_backend). Triton copies nothing of this project into the
process it runs in: numpy, onnxruntime and `triton_python_backend_utils` are all there is.

The requests of one batch become one onnxruntime run. If that run fails, each request is run alone, so that the error
of one is not the error of its neighbours.
"""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found]

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
        self._session = _session(
            Path(args["model_repository"]) / args["model_version"] / name,
            threads=int(parameters.get("intra_op_thread_count", 1)),
            between=int(parameters.get("inter_op_thread_count", 1)),
            gpu=int(args["model_instance_device_id"]) if args["model_instance_kind"] == "GPU" else None,
        )
        self._inputs = [tensor.name for tensor in self._session.get_inputs()]
        self._outputs = [tensor.name for tensor in self._session.get_outputs()]
        self._batched = config["max_batch_size"] > 0
        gc.freeze()  # what is loaded now stays: the collector need not walk through it between requests

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response per request, in order."""
        if len(requests) == 1:
            return [self._alone(requests[0])]
        if not self._batched:
            return [self._alone(request) for request in requests]
        try:
            arrays = [_arrays(request) for request in requests]
            feed = {name: np.concatenate([each[name] for each in arrays]) for name in self._inputs}
            results = self._session.run(None, feed)
        except Exception:  # whatever it is, running each alone tells whose it is
            return [self._alone(request) for request in requests]
        responses = []
        start = 0
        for request, given in zip(requests, arrays, strict=True):
            stop = start + len(given[self._inputs[0]])
            responses.append(self._response(request, [result[start:stop] for result in results]))
            start = stop
        return responses

    def _alone(self, request: Any) -> Any:
        try:
            return self._response(request, self._session.run(None, _arrays(request)))
        except Exception as error:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(f"onnxruntime: {error}"))

    def _response(self, request: Any, results: list[Any]) -> Any:
        if len(results) > 1:
            wanted = set(request.requested_output_names())
            pairs = [pair for pair in zip(self._outputs, results, strict=True) if pair[0] in wanted]
        else:
            pairs = [(self._outputs[0], results[0])]
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, result) for name, result in pairs])


def _arrays(request: Any) -> dict[str, Any]:
    """A request's inputs by name; `pb_utils.get_input_tensor_by_name` would search them once for each."""
    arrays = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
    for name, array in arrays.items():
        if array.dtype.hasobject:  # strings, which Triton hands over as bytes; onnxruntime takes text
            arrays[name] = np.array([each.decode() for each in array.flat], dtype=object).reshape(array.shape)
    return arrays


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
