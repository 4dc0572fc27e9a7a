"""Synthetic requests for a model without recorded samples.

A model is alive if it answers. It may answer a synthetic input with an error, because the input is invalid: the same
error again then counts as an answer, another kind of error does not.
"""

from __future__ import annotations

import http.client
import itertools
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainserve.client.binary import Wanted
from trainserve.serving.protocol.infer import Arrays, InferenceError, ask
from trainserve.serving.protocol.triton_types import DTYPES
from trainserve.serving.samples import load_inputs
from trainserve.serving.verification.description import Described, Endpoint, NoServer

_NO_ANSWER = re.compile(
    r"Stub process '[^']*' is not healthy|Request for unknown model|is not ready|is being unloaded|not found, version"
    r"|out of memory|bad_alloc|[Ff]ailed to allocate|CUDA (error|failure)|CUDNN|CUBLAS",
)
"""Errors that are not caused by the input: the server could not run the model, or is out of memory."""
_PARTICULARS = re.compile(r"0x[0-9a-fA-F]+|[-+]?[0-9][0-9.,e+-]*")
_sequences = itertools.count(int(time.time() * 1e3) << 20 & (1 << 62) - 1)
"""Sequence ids, different from those of other callers."""


@dataclass(frozen=True)
class Question:
    """One request. `refusal` is the kind of error that it was first answered with; empty if there was none.

    `sequence` says that it is a sequence of its own, for a model that accepts only sequences.
    """

    inputs: Arrays
    outputs: tuple[str, ...]
    sequence: bool = False
    refusal: str = ""

    def parameters(self) -> dict[str, Any]:
        """Return the request's parameters."""
        return {"sequence_id": next(_sequences), "sequence_start": True, "sequence_end": True} if self.sequence else {}


def kind_of(error: InferenceError) -> str:
    """Return the error message without what is specific to one request: numbers and addresses."""
    return _PARTICULARS.sub("#", str(error))


def is_answer(error: InferenceError) -> bool:
    """Whether the error is an answer of the model, or of the server's check of the request."""
    words = str(error)
    return words.startswith(("status 400", "status 500", "status 422")) and _NO_ANSWER.search(words) is None


def describe(url: str, model: str, timeout: float) -> Described:
    """Get the server's description of a loaded model. Raises InferenceError, or OSError if there is no server."""
    try:
        described = Endpoint(url, timeout).describe(model)
    except NoServer as error:
        if isinstance(error.__cause__, OSError):
            raise error.__cause__ from error
        raise InferenceError(str(error)) from error
    if not described.ready or not described.outputs:
        raise InferenceError(described.reason or "the server does not describe the model's tensors")
    return described


def unaskable(described: Described) -> str:
    """Return why there are no synthetic inputs for a model; empty if there are."""
    odd = [f"input {name} takes {kind}" for name, (kind, _) in (described.inputs or {}).items() if kind not in DTYPES]
    return odd[0] if odd else ""


def questions(described: Described) -> Iterator[Question]:
    """Yield requests to try, the most likely to be valid first."""
    tensors = [
        (name, np.dtype(DTYPES[datatype]), shape) for name, (datatype, shape) in (described.inputs or {}).items()
    ]
    for inputs in load_inputs.attempts(tensors):
        yield Question(dict(inputs), tuple(described.outputs or ()), described.sequence_idle is not None)


def fresh(inputs: Arrays, generator: np.random.Generator) -> Arrays:
    """Return new inputs, which a response cache does not know: it would answer known ones even for a dead model.

    Values are shuffled, floating-point numbers are made a little smaller, and texts get a few more digits, so that the
    inputs are likely to be valid.
    """
    return {name: _shuffled(array, generator) for name, array in inputs.items()}


def put(connection: http.client.HTTPConnection, model: str, question: Question, inputs: Arrays) -> None:
    """Send `question` with `inputs` in place of its own. Its known error counts as an answer.

    Raises InferenceError for any other error, and OSError.
    """
    try:
        ask(connection, model, inputs, [Wanted(name) for name in question.outputs], question.parameters())
    except InferenceError as error:
        if not question.refusal or kind_of(error) != question.refusal:
            raise


def _shuffled(array: np.ndarray[Any, Any], generator: np.random.Generator) -> np.ndarray[Any, Any]:
    shuffled: np.ndarray[Any, Any] = generator.permutation(array.reshape(-1)).reshape(array.shape)
    if array.dtype.hasobject and array.size:
        shuffled.reshape(-1)[0] += str(generator.integers(1 << 30)).encode()
    return (shuffled * generator.uniform(0.5, 1.0)).astype(array.dtype) if array.dtype.kind == "f" else shuffled
