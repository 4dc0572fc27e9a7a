"""A trial on a running server whether the answer to a row depends on the other rows of its batch."""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from trainserve.api.messages import Batching
from trainserve.batching.trial import ROWS, Arrays, Bounds, tried
from trainserve.serving.protocol.infer import InferenceError, infer
from trainserve.serving.repository.unbatched import Beside
from trainserve.serving.samples.recorded import Recorded
from trainserve.serving.verification import questions
from trainserve.serving.verification.description import Described
from trainserve.serving.verification.questions import Question

TIMEOUT = 30.0
"""Timeout of a request, in seconds."""


class _Refused(Exception):
    """The model answered a request with an error."""


class _Busy(Exception):
    """The server has no room for a request in its queue."""


def trial(
    host: str, port: int, model: str, described: Described, question: Question | None, recorded: Recorded | None
) -> str:
    """Return why the model must not be batched; empty if its rows are independent, or nothing can be tried.

    The rows are recorded ones, or derived from `question`. Raises OSError, and InferenceError if the server does not
    answer.
    """
    if described.max_batch < 2 or described.steps or described.sequence_idle is not None:
        return ""
    if recorded is not None:
        recorded = recorded.declared({name: shape for name, (_, shape) in (described.inputs or {}).items()})
    rows = _rows(question, recorded)
    if rows is None:
        return ""
    outputs = list(described.outputs or {})
    bounds = Bounds(recorded.rtol, recorded.atol) if recorded is not None else Bounds()
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
    asked: list[str] = []

    def ask(request: Arrays) -> Arrays:
        alone = all(len(array) == 1 for array in request.values())
        try:
            return _asked(connection, model, request, outputs)
        except _Refused as error:
            asked.append("" if alone else f"a request of several rows is refused: {error}")
            raise

    try:
        return tried(rows, described.max_batch, ask, partial(_together, host, port, model, outputs), bounds)
    except _Busy:
        return ""  # the queue is bounded (settings.dynamicBatching.queue): its refusals say nothing about the model
    except _Refused as error:
        # A single row that the model refuses says nothing about batches.
        return asked[-1] if asked else f"a row is refused among other callers: {error}"
    finally:
        connection.close()


@dataclass
class Company:
    """A probe's knowledge of its model in batches.

    `unbatched` switches the model to a configuration without batches; None if that is not the probe's task. `mixed`
    says why rows of a batch depend on each other; empty if they do not, or nothing is known yet.
    """

    unbatched: Beside | None = None
    mixed: str = ""
    _leaving: str = ""

    def check(
        self,
        host: str,
        port: int,
        model: str,
        described: Described,
        question: Question | None,
        recorded: Recorded | None,
    ) -> None:
        """Make a trial of a model whose answers are right alone; if it fails, serve the model without batches.

        Raises InferenceError while the server still has batches, or if it does not answer, and OSError.
        """
        self.expect_left(described)
        self.mixed = trial(host, port, model, described, question, recorded)
        if self.mixed and self.unbatched is not None and self.unbatched.apply(self.mixed):
            self._leaving = f"it must be restarted without batches: {self.mixed}"
            raise InferenceError(self._leaving)

    def expect_left(self, described: Described) -> None:
        """Raise InferenceError while the server still has batches and must be restarted without them."""
        if self._leaving and described.max_batch:
            raise InferenceError(self._leaving)
        self._leaving = ""

    def leaving(self, host: str, port: int, model: str) -> str:
        """Return why the server must be restarted, for the liveness check; empty if it need not."""
        if self._leaving:
            with contextlib.suppress(InferenceError, OSError):
                self.expect_left(questions.describe(f"{host}:{port}", model, TIMEOUT))
        return self._leaving

    def report(self, described: Described | None) -> Batching | None:
        """Return whether requests are batched, and why; None while nothing is known of the server."""
        if described is None or self._leaving:
            return None
        axis: Literal["first", "none"] = "first" if described.max_batch else "none"
        known = self.unbatched.batching() if self.unbatched is not None else None
        words = "its configuration says so" if known is None or known.axis != axis else known.reason
        return Batching(axis=axis, reason=words)


def _rows(question: Question | None, recorded: Recorded | None) -> dict[str, np.ndarray[Any, Any]] | None:
    if recorded is not None and not recorded.whole and recorded.batch == 1 and len(recorded) > 1:
        return {name: array[:ROWS] for name, array in recorded.inputs.items()}
    if question is None or question.refusal or not question.inputs:
        return None
    if any(array.shape[:1] != (1,) for array in question.inputs.values()):
        return None
    generator = np.random.default_rng(0)
    made = [question.inputs, *(questions.fresh(question.inputs, generator) for _ in range(ROWS - 1))]
    return {name: np.concatenate([each[name] for each in made]) for name in question.inputs}


def _asked(connection: http.client.HTTPConnection, model: str, request: Arrays, outputs: list[str]) -> Arrays:
    try:
        return infer(connection, model, request, outputs)
    except InferenceError as error:
        if str(error).startswith("status 503"):
            raise _Busy from error
        # A batch that the server has no memory for must not be made.
        several = any(len(array) > 1 for array in request.values())
        if questions.is_answer(error) or (several and str(error).startswith("status 5")):
            raise _Refused(str(error)) from error
        raise


def _together(host: str, port: int, model: str, outputs: list[str], requests: Sequence[Arrays]) -> list[Arrays]:
    """Send the requests concurrently."""

    def call(request: Arrays) -> Arrays:
        with contextlib.closing(http.client.HTTPConnection(host, port, timeout=TIMEOUT)) as connection:
            return _asked(connection, model, request, outputs)

    with ThreadPoolExecutor(len(requests)) as pool:
        return list(pool.map(call, requests))
