"""What is asked of a running server about itself and its models: readiness, states, counts, load and unload.

https://github.com/triton-inference-server/server/tree/main/docs/protocol (model_repository and statistics extensions)
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from trainserve.api.pod import Endpoint
from trainserve.serving.protocol.infer import InferenceError


def is_ready(url: str) -> bool:
    """Whether the server at `url` (<host>:<port>) answers /v2/health/ready with 200."""
    connection = http.client.HTTPConnection(url, timeout=1)
    try:
        connection.request("GET", Endpoint.READY)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


class Control:
    """What is asked of a server about its models. Every method raises OSError, or InferenceError with its words."""

    def __init__(self, url: str, timeout: float) -> None:
        self.url, self.timeout = url, timeout

    def states(self) -> dict[str, tuple[bool, str]]:
        """Whether each model of the repository is loaded, and else why not."""
        found: dict[str, tuple[bool, str]] = {}
        for entry in self._ask("POST", "/v2/repository/index", {}):
            loaded = entry.get("state") == "READY"
            if loaded or entry["name"] not in found:
                found[entry["name"]] = (loaded, entry.get("reason") or entry.get("state") or "it was not loaded")
        return found

    def finished(self, model: str) -> int:
        """How many requests the model has answered so far, well or not."""
        stats = self._ask("GET", f"/v2/models/{model}/stats")["model_stats"]
        return sum(each["inference_stats"][kind]["count"] for each in stats for kind in ("success", "fail"))

    def unload(self, model: str, *, recovering: bool = False) -> None:
        """Take a model out of service; `recovering`: it will be loaded at once, and the guard holds its requests."""
        headers = {"Trainserve-Recovering": "yes"} if recovering else {}
        self._ask("POST", f"/v2/repository/models/{model}/unload", {}, headers)

    def load(self, model: str) -> None:
        """Load a model; returns once it is loaded."""
        self._ask("POST", f"/v2/repository/models/{model}/load", {})

    def _ask(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] = MappingProxyType({})) -> Any:
        connection = http.client.HTTPConnection(self.url, timeout=self.timeout)
        try:
            content = None if body is None else json.dumps(body).encode()
            connection.request(method, path, content, {"Content-Type": "application/json", **headers})
            response = connection.getresponse()
            text = response.read()
            answer = json.loads(text) if text else None
        except (http.client.HTTPException, ValueError) as error:
            raise InferenceError(f"{path}: {type(error).__name__}: {error}") from error
        finally:
            connection.close()
        if response.status != http.client.OK:
            words = answer.get("error") if isinstance(answer, dict) else text[:300].decode(errors="replace")
            raise InferenceError(str(words))
        return answer
