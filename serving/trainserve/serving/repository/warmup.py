"""Warm-up: recorded samples that Triton runs through each instance before the model is ready.

Triton reads them from `<model>/warmup/` and runs `batch_size` requests of one sample each as one batch, which completes
lazy initialization (triton-inference-server/core, src/backend_model_instance.cc).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from trainserve.api import limits
from trainserve.serving.protocol.triton_types import TYPES, messages
from trainserve.serving.repository.settings import InvalidSettings
from trainserve.serving.sources.servable import Servable
from trainserve.store import Tensor, arrays

FOLDER = "warmup"

Sample = Mapping[str, "np.ndarray[Any, Any]"]


def sample(model: Servable) -> dict[str, np.ndarray[Any, Any]]:
    """Return the first recorded sample, (1, …) for each input, or the first fixed batch; zeros without samples.

    Raises InvalidSettings if the length of an axis is unknown.
    """
    recorded: dict[str, np.ndarray[Any, Any]] = {}
    if model.samples is not None:
        try:
            arrays.check(model.samples, limits.current().bytes("samples"), model.samples.name)
        except arrays.TooLarge as error:
            raise InvalidSettings(f"settings.warmup: {error}") from None
        with np.load(model.samples, allow_pickle=False) as samples:
            recorded = {tensor.name: _one(samples[tensor.name], tensor, model) for tensor in model.inputs
                        if tensor.name in samples}  # fmt: skip
    return {each.name: recorded[each.name] if each.name in recorded else _zeros(model, each) for each in model.inputs}


def add(config: Any, model: Servable, given: Sample) -> None:
    """Configure warm-up with the sample alone and, if requests are batched, with a full batch."""
    for batch in sorted({1, max(1, config.max_batch_size)}):
        warmup = config.model_warmup.add(name=f"batch of {batch}", batch_size=batch, count=1)
        for tensor in model.inputs:
            array = given[tensor.name]
            # As in the configuration: Triton has no tensors without axes.
            shape = (array.shape[1:] if config.max_batch_size else array.shape) or (1,)
            told = warmup.inputs[tensor.name]
            told.data_type = messages().DataType.Value(TYPES[tensor.dtype])
            told.dims.extend(shape)
            if array.dtype.hasobject:
                told.zero_data = True
            else:
                told.input_data_file = _file(model, tensor.name)


def files(model: Servable, given: Sample) -> dict[str, bytes]:
    """Return the files that the configuration names, by their paths in the model's folder."""
    return {
        f"{FOLDER}/{_file(model, name)}": np.ascontiguousarray(array).tobytes()
        for name, array in given.items()
        if not array.dtype.hasobject
    }


def _file(model: Servable, name: str) -> str:
    """Name the file by the input's position: a tensor's name may not be a valid file name."""
    return f"input{[tensor.name for tensor in model.inputs].index(name)}"


def _one(recorded: np.ndarray[Any, Any], tensor: Tensor, model: Servable) -> np.ndarray[Any, Any]:
    """Return the data of one request: a row, a fixed batch, or for an unbatched graph a whole sample."""
    if model.batched:
        return recorded[:1]
    if recorded.ndim > len(tensor.shape):
        return np.asarray(recorded[0])
    return recorded[: max(1, tensor.shape[0])]


def _zeros(model: Servable, tensor: Tensor) -> np.ndarray[Any, Any]:
    """Return zeros: one row along a first axis of any length."""
    shape = [1 if size == -1 and axis == 0 else size for axis, size in enumerate(tensor.shape)]
    if -1 in shape:
        raise InvalidSettings(
            f"settings.warmup: model {model.name} has no recorded samples, and its input {tensor.name} {tensor.shape} "
            "may be of any size"
        )
    return np.zeros(shape, tensor.dtype)
