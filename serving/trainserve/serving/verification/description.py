"""A running server's description of a model, from its HTTP endpoints: state, tensors, labels, digest.

https://github.com/triton-inference-server/server/tree/main/docs/protocol (model_repository, model_configuration and
classification extensions)
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from trainserve.serving.protocol.control import request
from trainserve.serving.protocol.infer import Arrays, InferenceError, infer
from trainserve.serving.repository.repository import DIGEST

NEVER_LOADED = "never loaded"
"""Reason of an ensemble without all of its steps, for which the server gives not even a state."""


class NoServer(Exception):
    """No server of the open inference protocol answers at the address; the message has the address and the response."""


@dataclass(frozen=True)
class Described:
    """A served model. Shapes include the batch axis; `max_batch` is 0 for a model without one.

    Unless `ready`, `reason` is the server's message, there are no tensors, and `waiting` maps the other models that are
    not loaded to their reasons. `steps` are those of an ensemble.
    """

    server: str
    ready: bool
    reason: str = ""
    waiting: dict[str, str] | None = None
    max_batch: int = 0
    inputs: dict[str, tuple[str, list[int]]] | None = None
    outputs: dict[str, tuple[str, list[int]]] | None = None
    digest: str | None = None
    steps: tuple[str, ...] = ()
    accelerator: str | None = None
    """The configured accelerator, for example TensorRT, with its options."""
    cached: bool = False
    """Whether the server has a response cache for the model."""
    sequence_idle: float | None = None
    """For a model with a state per sequence: seconds after which an idle sequence ends."""


class Endpoint:
    """A server's HTTP endpoint at `url` (<host>:<port>). Every method raises NoServer."""

    def __init__(self, url: str, timeout: float = 10.0) -> None:
        self.url, self.timeout = url, timeout

    def models(self) -> dict[str, tuple[str, str]]:
        """Return state (empty if loading never began) and reason of every model of the repository."""
        found: dict[str, tuple[str, str]] = {}
        for entry in self._json("POST", "/v2/repository/index", {}):
            state = (entry.get("state", ""), entry.get("reason", "").partition("\n")[0])
            if entry["name"] not in found or state[0] == "READY":
                found[entry["name"]] = state
        return found

    def ready(self, model: str) -> bool:
        """Whether the server has loaded the model."""
        return self._call("GET", f"/v2/models/{model}/ready")[0] == http.client.OK

    def describe(self, model: str) -> Described:
        """Describe one model."""
        about = self._json("GET", "/v2")
        server = f"{about.get('name', 'server')} {about.get('version', '')}".strip()
        if not self.ready(model):
            models = self.models()
            served = ", ".join(sorted(name for name, (state, _) in models.items() if state == "READY")) or "none"
            unknown = f"it has no such model; ready: {served}"
            reason = (models[model][1] or models[model][0] or NEVER_LOADED) if model in models else unknown
            waiting = {name: why or state for name, (state, why) in models.items() if state != "READY"}
            return Described(server, False, reason, {name: why for name, why in waiting.items() if name != model})
        found = self._json("GET", f"/v2/models/{model}")
        config = self._json("GET", f"/v2/models/{model}/config")
        version = max(found.get("versions") or ["1"], key=int)  # the one that answers requests without a version
        steps = [step["model_name"] for step in config.get("ensemble_scheduling", {}).get("step", [])]
        return Described(
            server,
            True,
            max_batch=int(config.get("max_batch_size", 0)),
            inputs={each["name"]: _tensor(each) for each in found["inputs"]},
            outputs={each["name"]: _tensor(each) for each in found["outputs"]},
            digest=config.get("parameters", {}).get(f"{DIGEST}_{version}", {}).get("string_value"),
            steps=tuple(steps),
            accelerator=_accelerator(config),
            cached=bool(config.get("response_cache", {}).get("enable")),
            sequence_idle=_sequence_idle(config),
        )

    def unready_steps(self, described: Described) -> dict[str, str]:
        """Return the steps of an ensemble that are not ready, with the server's reasons."""
        models = self.models()
        missing = [step for step in described.steps if not self.ready(step)]
        return {step: models.get(step, ("", "no such model"))[1] or "not ready" for step in missing}

    def labels(self, model: str, output: str, classes: int, inputs: Arrays) -> list[str]:
        """Return the label of every class, by the classification extension; the number of a class without a label.

        `inputs` is one batch of one row. Raises InferenceError.
        """
        with self._errors(), closing(http.client.HTTPConnection(self.url, timeout=self.timeout)) as connection:
            answers = infer(connection, model, inputs, [output], classes=classes)
        labels = [str(index) for index in range(classes)]
        try:
            for entry in answers[output].reshape(-1):
                _, index, *label = entry.decode().split(":", 2)
                labels[int(index)] = label[0] if label else index
        except (ValueError, KeyError, IndexError, AttributeError) as error:
            raise InferenceError(f"not an answer of the classification extension: {error}") from error
        return labels

    def _json(self, method: str, path: str, body: Any = None) -> Any:
        status, found = self._call(method, path, body)
        answer = None
        if status == http.client.OK:
            with suppress(ValueError):
                answer = json.loads(found)
        if answer is None:
            words = found[:300].decode(errors="replace").strip() or "nothing"
            raise NoServer(f"{self.url}{path}: not an inference server's answer: status {status}, {words}")
        return answer

    def _call(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        with self._errors():
            return request(self.url, method, path, self.timeout, body)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise NoServer(f"{self.url}: {error.strerror or str(error) or type(error).__name__}") from error
        except http.client.HTTPException as error:
            raise NoServer(f"{self.url}: {type(error).__name__}: {error}") from error


def _sequence_idle(config: dict[str, Any]) -> float | None:
    """Return the idle timeout in seconds; 0 means a second (triton-inference-server/common, model_config.proto)."""
    batching = config.get("sequence_batching")
    return None if batching is None else (int(batching.get("max_sequence_idle_microseconds", 0)) or 1_000_000) / 1e6


def _accelerator(config: dict[str, Any]) -> str | None:
    accelerators = config.get("optimization", {}).get("execution_accelerators", {})
    for each in accelerators.get("gpu_execution_accelerator", []):
        options = ", ".join(f"{key} {value}" for key, value in each.get("parameters", {}).items())
        return f"{each['name']} ({options})" if options else str(each["name"])
    return None


def _tensor(described: dict[str, Any]) -> tuple[str, list[int]]:
    return described["datatype"], [int(size) for size in described["shape"]]
