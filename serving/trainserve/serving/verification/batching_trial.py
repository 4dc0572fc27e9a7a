"""Tries through a running server whether a model's rows are answered in company as they are alone."""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Callable, Sequence
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
"""Seconds for one request of a trial."""


class _Refused(Exception):
    """The model answers a request with an error."""


class _Busy(Exception):
    """The server has no room for a request in its queue."""


def trial(
    host: str, port: int, model: str, described: Described, question: Question | None, recorded: Recorded | None
) -> str:
    """Why the model must not be batched, in words; empty where its rows stand alone, or nothing can be tried.

    Rows are those that were recorded, else made of what it was asked. Raises InferenceError where the server does not
    answer, and OSError.
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
        return ""  # its queue has bounds (settings.dynamicBatching.queue): what it refuses for them says nothing
    except _Refused as error:
        # A row alone that the model does not answer says nothing of company.
        return asked[-1] if asked else f"a row is refused among other callers: {error}"
    finally:
        connection.close()


@dataclass
class Company:
    """What a probe knows of its model in company. `unbatched`: what to do where rows do not stand alone; None where
    that is somebody else's to see to. `mixed`: why they do not, empty where they do or nothing is known yet."""

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
        """Make a trial of a model that is right alone; one that does not stand it is to be served without batches.

        Raises InferenceError for as long as the server has them, and where it does not answer, and OSError.
        """
        self.expect_left(described)
        self.mixed = trial(host, port, model, described, question, recorded)
        if self.mixed and self.unbatched is not None and self.unbatched.apply(self.mixed):
            self._leaving = f"it is started anew without batches: {self.mixed}"
            raise InferenceError(self._leaving)

    def expect_left(self, described: Described) -> None:
        """Raises InferenceError while a server has batches that it is to be started anew without."""
        if self._leaving and described.max_batch:
            raise InferenceError(self._leaving)
        self._leaving = ""

    def leaving(self, host: str, port: int, model: str) -> str:
        """Why the server must be started anew, which whoever asks for its health sees to; empty where it need not."""
        if self._leaving:
            with contextlib.suppress(InferenceError, OSError):
                self.expect_left(questions.describe(f"{host}:{port}", model, TIMEOUT))
        return self._leaving

    def report(self, described: Described | None) -> Batching | None:
        """Whether requests are gathered, and why; None while nothing is known of the server."""
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
        # A batch for which there is no room is one that must not be made.
        several = any(len(array) > 1 for array in request.values())
        if questions.is_answer(error) or (several and str(error).startswith("status 5")):
            raise _Refused(str(error)) from error
        raise


def _together(host: str, port: int, model: str, outputs: list[str], requests: Sequence[Arrays]) -> list[Arrays]:
    """Each request by a caller of its own."""

    def call(request: Arrays) -> Arrays:
        connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
        try:
            return _asked(connection, model, request, outputs)
        finally:
            connection.close()

    one: Callable[[Arrays], Arrays] = call
    with ThreadPoolExecutor(len(requests)) as pool:
        return list(pool.map(one, requests))
