"""What a model is asked of which nothing was recorded: inputs that are made up, each an answerable question or not.

A model is alive when it answers. What it answers to an input that was made up for it, an error included, is known once
that was tried: the same error again is an answer, too, and another kind of error is none.
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
from trainserve.serving.protocol.infer import DTYPES, Arrays, InferenceError, ask
from trainserve.serving.samples import load_inputs
from trainserve.serving.verification.description import Described, Endpoint, NoServer

_NO_ANSWER = re.compile(
    r"Stub process '[^']*' is not healthy|Request for unknown model|is not ready|is being unloaded|not found, version"
    r"|out of memory|bad_alloc|[Ff]ailed to allocate|CUDA (error|failure)|CUDNN|CUBLAS",
)
"""Words of a server that could not ask its model, or has no room for it: nothing that an input is to blame for."""
_PARTICULARS = re.compile(r"0x[0-9a-fA-F]+|[-+]?[0-9][0-9.,e+-]*")
_sequences = itertools.count(int(time.time() * 1e3) << 20 & (1 << 62) - 1)
"""Names of sequences, of which no other caller has one."""


@dataclass(frozen=True)
class Question:
    """One request, and how it was answered when it was first tried: `refusal` is the kind of error, empty of none.

    `sequence`: it is a sequence by itself, for a model that takes no other request.
    """

    inputs: Arrays
    outputs: tuple[str, ...]
    sequence: bool = False
    refusal: str = ""

    def parameters(self) -> dict[str, Any]:
        """Of the request."""
        return {"sequence_id": next(_sequences), "sequence_start": True, "sequence_end": True} if self.sequence else {}


def kind_of(error: InferenceError) -> str:
    """The error's words without what is of this one request: numbers and addresses."""
    return _PARTICULARS.sub("#", str(error))


def is_answer(error: InferenceError) -> bool:
    """Whether the model, or the server after a look at the request, said it."""
    words = str(error)
    return words.startswith(("status 400", "status 500", "status 422")) and _NO_ANSWER.search(words) is None


def describe(url: str, model: str, timeout: float) -> Described:
    """What the server says of the model. Raises InferenceError, or OSError when there is no server."""
    try:
        described = Endpoint(url, timeout).describe(model)
    except NoServer as error:
        if isinstance(error.__cause__, OSError):
            raise error.__cause__ from error
        raise InferenceError(str(error)) from error
    if not described.ready or not described.outputs:
        raise InferenceError(described.reason or "the server says nothing of the model's tensors")
    return described


def unaskable(described: Described) -> str:
    """Why nothing can be made up for a model; empty where it can."""
    odd = [f"input {name} takes {kind}" for name, (kind, _) in (described.inputs or {}).items() if kind not in DTYPES]
    return odd[0] if odd else ""


def questions(described: Described) -> Iterator[Question]:
    """What may be asked, the likeliest to be answered first."""
    tensors = [
        (name, np.dtype(DTYPES[datatype]), [shape[0], *shape[1:]] if shape else [])
        for name, (datatype, shape) in (described.inputs or {}).items()
    ]
    for inputs in load_inputs.attempts(tensors):
        yield Question(dict(inputs), tuple(described.outputs or ()), described.sequence_idle is not None)


def fresh(inputs: Arrays, generator: np.random.Generator) -> Arrays:
    """Inputs that were never sent before: a response cache answers what was, whoever is dead behind it.

    Its values in another order, those that are no whole numbers a little smaller, and texts with a few digits more, so
    that each is likely to be one that the model takes.
    """
    return {name: _shuffled(array, generator) for name, array in inputs.items()}


def put(connection: http.client.HTTPConnection, model: str, question: Question, inputs: Arrays) -> None:
    """Ask it, with these inputs in the place of its own. Raises InferenceError unless it is answered, be it with the
    error that is known, and OSError."""
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
