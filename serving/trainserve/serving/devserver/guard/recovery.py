"""Patience with a server, or a process of the python backend, that died where somebody recovers it (`--guard=hold`).

Of a process that died the server answers a request with an error after a second, and while the model is loaded again
says that it has no such model. An inference changes nothing, so the guard asks again until the model answers, and no
client notices; so it does where the server itself is lost. Of a model that did not fail so, and that no supervisor
unloads with the header `RECOVERING`, every word is passed on.
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
    """What is known of the models of one server."""

    def __init__(self) -> None:
        self._until: dict[bytes, float] = {}
        self._server_until = 0.0
        self.answered = False
        """Whether the server has answered an inference since it was started."""

    def started(self) -> None:
        """Called when the server is started, or started anew."""
        self.answered = False

    def note(self, request: Request) -> None:
        """Called with every request that is passed on."""
        found = _UNLOAD.fullmatch(request.path)
        if found and request.header(RECOVERING) is not None:
            self._until[found[1]] = time.monotonic() + HOLD_SECONDS

    def note_answer(self, path: bytes) -> None:
        """Called with every request that was answered without an error."""
        if _MODEL.fullmatch(path) is not None:
            self.answered, self._server_until = True, 0.0

    def asks_again(self, path: bytes, status: int, answer: bytes | bytearray) -> bool:
        """Whether a request that got this answer is worth sending again in `AGAIN_SECONDS`."""
        found = _MODEL.fullmatch(path)
        if found is None:
            return False
        if status < 400:  # another instance of the model may still answer while this one's death is dealt with
            return False
        model, now = found[1], time.monotonic()
        if _DEAD.search(answer):
            if now > self._until.get(model, 0.0) + HOLD_SECONDS:  # else nobody recovered it in time: no use to wait
                self._until[model] = now + HOLD_SECONDS
        elif not _AWAY.search(answer):
            return False
        return now < max(self._until.get(model, 0.0), self._server_until)

    def asks_lost_again(self, path: bytes) -> bool:
        """The same for a request that got no answer, because the server is gone or not there."""
        if _MODEL.fullmatch(path) is None:
            return False
        now = time.monotonic()
        if now > self._server_until + HOLD_SECONDS:
            self._server_until = now + HOLD_SECONDS
        return now < self._server_until
