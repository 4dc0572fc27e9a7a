"""Patience with a model whose backend process died, where somebody is there to recover it (`--guard=hold`).

The server answers such a request with an error after a second, and while the model is loaded again says that it has no
such model. An inference changes nothing, so the guard asks again until the model answers, and no client notices. Of a
model that never failed so, every word of the server is passed on.
"""

from __future__ import annotations

import re
import time

HOLD_SECONDS = 10.0
AGAIN_SECONDS = 0.05
_MODEL = re.compile(rb"/v2/models/([^/]+)(/versions/[^/]+)?/(infer|generate)")
_DEAD = re.compile(rb"Stub process '[^']*' is not healthy")
_AWAY = re.compile(rb"Request for unknown model|is not ready|is being unloaded|not found, version is unavailable")


class Recovery:
    """What is known of the models of one server."""

    def __init__(self) -> None:
        self._until: dict[bytes, float] = {}

    def asks_again(self, path: bytes, status: int, answer: bytes | bytearray) -> bool:
        """Whether a request that got this answer is worth sending again in `AGAIN_SECONDS`."""
        found = _MODEL.fullmatch(path)
        if found is None:
            return False
        model = found[1]
        if status < 400:
            self._until.pop(model, None)
            return False
        if _DEAD.search(answer):
            self._until.setdefault(model, time.monotonic() + HOLD_SECONDS)
        elif not _AWAY.search(answer):
            return False
        return time.monotonic() < self._until.get(model, 0.0)
