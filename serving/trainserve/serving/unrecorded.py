"""What a probe sends that was never recorded: to a lone graph, which comes without samples, and to see who lives."""

from __future__ import annotations

import http.client
from typing import Any

import numpy as np

from trainserve.serving import load_inputs
from trainserve.serving.described import Described, Endpoint, NoServer
from trainserve.serving.infer import DTYPES, InferenceError, infer
from trainserve.serving.recorded import Arrays, Recorded

SIZES = (1, 32, 224)
"""Lengths that are tried for an axis of any length, where nobody says which the network takes."""


def answered(host: str, port: int, model: str, timeout: float) -> Recorded:
    """What a served model answers to made-up inputs, once it has the outputs, dtypes and shapes that it declares.

    Raises InferenceError, or OSError when there is no server.
    """
    try:
        described = Endpoint(f"{host}:{port}", timeout).describe(model)
    except NoServer as error:
        raise InferenceError(str(error)) from error
    if not described.ready or not described.inputs or not described.outputs:
        raise InferenceError(described.reason or "the server says nothing of the model's tensors")
    any_length = any(size < 0 for _, shape in described.inputs.values() for size in shape[1:])
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        for size in SIZES if any_length else SIZES[:1]:
            inputs = _made_up(described, size)
            try:
                outputs = infer(connection, model, inputs, list(described.outputs))
            except InferenceError as error:
                refused = error
                continue
            _check(described, outputs)
            batch = 1 if described.max_batch else len(next(iter(inputs.values())))
            return Recorded(inputs, outputs, rtol=0.0, atol=0.0, batch=batch, reference="none")
        raise refused
    finally:
        connection.close()


def fresh(recorded: Recorded, generator: np.random.Generator) -> Arrays:
    """Inputs of one request that was never sent before: a response cache answers what was, whoever is dead behind it.

    The values of a sample in another order, and those that are no whole numbers a little smaller, so that each is one
    that the model takes.
    """
    start = int(generator.integers(max(1, len(recorded) // recorded.batch))) * recorded.batch
    sample = recorded.sent(np.arange(start, start + recorded.batch))
    return {name: _shuffled(array, generator) for name, array in sample.items()}


def _shuffled(array: np.ndarray[Any, Any], generator: np.random.Generator) -> np.ndarray[Any, Any]:
    shuffled: np.ndarray[Any, Any] = generator.permutation(array.reshape(-1)).reshape(array.shape)
    return (shuffled * generator.uniform(0.5, 1.0)).astype(array.dtype) if array.dtype.kind == "f" else shuffled


def _made_up(described: Described, size: int) -> Arrays:
    assert described.inputs is not None
    tensors = [
        (name, np.dtype(DTYPES[datatype]), [shape[0], *(size if each < 0 else each for each in shape[1:])])
        for name, (datatype, shape) in described.inputs.items()
    ]
    return dict(load_inputs.random(tensors)[0])


def _check(described: Described, outputs: Arrays) -> None:
    """Raises InferenceError unless the outputs are as declared."""
    assert described.outputs is not None
    for name, (datatype, shape) in described.outputs.items():
        answer = outputs.get(name)
        if answer is None:
            raise InferenceError(f"output {name} is missing; the server sent {', '.join(outputs) or 'none'}")
        fits = len(answer.shape) == len(shape) and all(
            declared in (-1, size) for declared, size in zip(shape, answer.shape, strict=True)
        )
        if answer.dtype != np.dtype(DTYPES[datatype]) or not fits:
            raise InferenceError(
                f"output {name}: {answer.dtype} {list(answer.shape)} instead of {datatype} {list(shape)}"
            )
