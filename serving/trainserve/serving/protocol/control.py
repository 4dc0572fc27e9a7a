"""Requests to a running server about itself and its models: readiness, states, counts, load and unload.

https://github.com/triton-inference-server/server/tree/main/docs/protocol (model_repository and statistics extensions)
"""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from trainserve.api.pod import Endpoint
from trainserve.serving.protocol.infer import InferenceError

_NONE: Mapping[str, str] = MappingProxyType({})


def request(
    url: str, method: str, path: str, timeout: float, body: Any = None, headers: Mapping[str, str] = _NONE
) -> tuple[int, bytes]:
    """Send one request to `url` (<host>:<port>), with `body` as JSON; returns the status and the content.

    `timeout` is in seconds. Raises OSError, http.client.HTTPException.
    """
    content = None if body is None else json.dumps(body).encode()
    kind = {} if body is None else {"Content-Type": "application/json"}
    with contextlib.closing(http.client.HTTPConnection(url, timeout=timeout)) as connection:
        connection.request(method, path, content, {**kind, **headers})
        response = connection.getresponse()
        return response.status, response.read()


def error_message(status: int, content: bytes) -> str:
    """Return the message of a response that is an error: that in Triton's JSON, else the beginning of the text."""
    try:
        return str(json.loads(content)["error"])
    except (ValueError, KeyError, TypeError):
        return content[:300].decode(errors="replace").strip() or f"status {status}"


def is_ready(url: str, model: str = "", timeout: float = 1.0) -> bool:
    """Whether the server at `url` (<host>:<port>) is ready, or if `model` is given, has loaded that model."""
    path = f"/v2/models/{model}/ready" if model else Endpoint.READY
    try:
        return request(url, "GET", path, timeout)[0] == http.client.OK
    except (OSError, http.client.HTTPException):
        return False


class Control:
    """Control requests to a server. Every method raises OSError, or InferenceError with the server's message."""

    def __init__(self, url: str, timeout: float) -> None:
        """`timeout` is that of one request, in seconds."""
        self.url, self.timeout = url, timeout

    def states(self) -> dict[str, tuple[bool, str]]:
        """Return for each model of the repository whether it is loaded, and the reason if it is not."""
        found: dict[str, tuple[bool, str]] = {}
        for entry in self._ask("POST", "/v2/repository/index", {}):
            loaded = entry.get("state") == "READY"
            if loaded or entry["name"] not in found:
                found[entry["name"]] = (loaded, entry.get("reason") or entry.get("state") or "it was not loaded")
        return found

    def finished(self, model: str) -> int:
        """Count the requests that the model has answered so far, successfully or not."""
        stats = self._ask("GET", f"/v2/models/{model}/stats")["model_stats"]
        return sum(each["inference_stats"][kind]["count"] for each in stats for kind in ("success", "fail"))

    def unload(self, model: str, *, recovering: bool = False) -> None:
        """Unload a model; `recovering` says that it will be loaded again at once, and the guard holds its requests."""
        headers = {"Trainserve-Recovering": "yes"} if recovering else {}
        self._ask("POST", f"/v2/repository/models/{model}/unload", {}, headers)

    def load(self, model: str) -> None:
        """Load a model; returns once it is loaded."""
        self._ask("POST", f"/v2/repository/models/{model}/load", {})

    def _ask(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] = _NONE) -> Any:
        try:
            status, content = request(self.url, method, path, self.timeout, body, headers)
            if status != http.client.OK:
                raise InferenceError(error_message(status, content))
            return json.loads(content) if content else None
        except (http.client.HTTPException, ValueError) as error:
            raise InferenceError(f"{path}: {type(error).__name__}: {error}") from error
