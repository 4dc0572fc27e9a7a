"""Retries of inferences while a supervisor (`--guard=hold`) recovers a server or a process of the python backend.

When a backend process has died, the server answers with an error after a second, and while the model is loaded again,
that it has no such model. An inference changes nothing, so that the guard retries it until the model answers, and no
client notices. The same holds when the server itself is lost. All other errors are forwarded: those of a model that
neither failed so nor was unloaded by the supervisor with the header `RECOVERING`.
"""

from __future__ import annotations

import re
import time

from trainserve.serving.devserver.guard.messages import Request

HOLD_SECONDS = 10.0
AGAIN_SECONDS = 0.05
RECOVERING = b"trainserve-recovering"
_UNLOAD = re.compile(rb"/v2/repository/models/([^/]+)/unload")
_MODEL = re.compile(rb"/v2/models/([^/]+)(/versions/[^/]+)?/(infer|generate)")
_DEAD = re.compile(rb"Stub process '[^']*' is not healthy")
_AWAY = re.compile(rb"Request for unknown model|is not ready|is being unloaded|not found, version is unavailable")


class Recovery:
    """The state of recovery of one server and its models."""

    def __init__(self) -> None:
        self._until: dict[bytes, float] = {}
        self._server_until = 0.0
        self.answered = False
        """Whether the server has answered an inference since its start."""

    def started(self) -> None:
        """Record a start of the server."""
        self.answered = False

    def note(self, request: Request) -> None:
        """Record a forwarded request."""
        found = _UNLOAD.fullmatch(request.path)
        if found and request.header(RECOVERING) is not None:
            self._until[found[1]] = time.monotonic() + HOLD_SECONDS

    def note_answer(self, path: bytes) -> None:
        """Record a request that was answered without an error."""
        if _MODEL.fullmatch(path) is not None:
            self.answered, self._server_until = True, 0.0

    def asks_again(self, path: bytes, status: int, answer: bytes | bytearray) -> bool:
        """Return whether to retry a request that got this answer, after `AGAIN_SECONDS`."""
        found = _MODEL.fullmatch(path)
        if found is None:
            return False
        if status < 400:  # another instance of the model may still answer
            return False
        model, now = found[1], time.monotonic()
        if _DEAD.search(answer):
            if now > self._until.get(model, 0.0) + HOLD_SECONDS:  # else it was not recovered in time: no use to wait
                self._until[model] = now + HOLD_SECONDS
        elif not _AWAY.search(answer):
            return False
        return now < max(self._until.get(model, 0.0), self._server_until)

    def asks_lost_again(self, path: bytes) -> bool:
        """Return whether to retry a request that got no answer, because the server is gone."""
        if _MODEL.fullmatch(path) is None:
            return False
        now = time.monotonic()
        if now > self._server_until + HOLD_SECONDS:
            self._server_until = now + HOLD_SECONDS
        return now < self._server_until
