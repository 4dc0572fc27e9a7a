"""Checks of model configurations with a real server, which must understand them as they are meant.

A development server loads each model of the repository, and the answers of its model-config endpoint are compared with
the messages that were written.
(https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_model_configuration.md)
"""

from __future__ import annotations

import http.client
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from google.protobuf import json_format  # type: ignore[import-untyped]

from trainserve.api.pod import COMPLETE_CONFIGURATION
from trainserve.serving.devserver import refusals
from trainserve.serving.devserver.server import DevelopmentServer
from trainserve.serving.protocol.control import error_message, request
from trainserve.serving.protocol.triton_types import messages
from trainserve.serving.repository.repository import Folder, write_folders

LOAD_SECONDS = 600.0
"""Timeout of a request: a large model may take long to load and to warm up."""


@dataclass(frozen=True)
class Refusal:
    """A configuration that the server refuses, or understands differently; `words` say why or how."""

    model: str
    words: str

    def __str__(self) -> str:
        """Return one line."""
        return f"model {self.model}: {self.words}"


def check(command: Path, folders: Sequence[Folder], flags: Sequence[str]) -> list[Refusal]:
    """List what the server refuses, or understands differently than meant.

    GPU instances are tested on the CPU: the development server has no GPU, and would refuse them for that alone.
    Raises OSError, ServerNotReady.
    """
    tried = [_on_cpu(folder) for folder in folders]
    with tempfile.TemporaryDirectory(prefix="trainserve-check-") as scratch:
        repository = Path(scratch) / "models"
        write_folders(tried, repository)
        explicit = ("--model-control-mode=explicit", COMPLETE_CONFIGURATION, *flags)
        server = DevelopmentServer(command, repository, Path(scratch) / "log", *explicit)
        try:
            server.start()
            return [refusal for folder in tried for refusal in _refusals(server, folder.config)]
        finally:
            server.kill()  # a clean shutdown would only take time


def without_histogram(folder: Folder) -> Folder:
    """Return the same model without settings newer than the development server (api/triton_releases.py)."""
    config = _copy(folder.config)
    config.ClearField("model_metrics")
    return replace(folder, config=config)


def differences(meant: Any, answered: Any, path: str = "") -> Iterator[str]:
    """Yield one line for each field of `meant` that differs in `answered`, both as JSON values.

    Fields that the server fills in are not compared.
    """
    if isinstance(meant, dict) and isinstance(answered, dict):
        for name, value in meant.items():
            yield from differences(value, answered.get(name), f"{path}.{name}" if path else name)
    elif isinstance(meant, list) and isinstance(answered, list) and len(meant) == len(answered):
        for index, (value, other) in enumerate(zip(meant, answered, strict=True)):
            yield from differences(value, other, f"{path}[{index}]")
    elif meant != answered:
        told = "nothing" if answered is None else json.dumps(answered)
        yield f"{path}: meant {json.dumps(meant)}, the server has {told}"


def _copy(config: Any) -> Any:
    copy = type(config)()
    copy.CopyFrom(config)
    return copy


def _on_cpu(folder: Folder) -> Folder:
    config = _copy(folder.config)
    for group in config.instance_group:
        if group.kind == group.KIND_GPU:
            group.kind = group.KIND_CPU
    return replace(folder, config=config)


def _refusals(server: DevelopmentServer, config: Any) -> list[Refusal]:
    status, words = _ask(server, "POST", f"/v2/repository/models/{config.name}/load")
    if status != http.client.OK:
        return [Refusal(config.name, refusals.words(config.name, words, server.log.read_text(errors="replace")))]
    status, words = _ask(server, "GET", f"/v2/models/{config.name}/config")
    if status != http.client.OK:
        return [Refusal(config.name, words)]
    answered = json_format.ParseDict(json.loads(words), messages().ModelConfig(), ignore_unknown_fields=True)
    return [Refusal(config.name, line) for line in differences(_json(config), _json(answered))]


def _json(config: Any) -> dict[str, Any]:
    found: dict[str, Any] = json_format.MessageToDict(config, preserving_proto_field_name=True)
    return found


def _ask(server: DevelopmentServer, method: str, path: str) -> tuple[int, str]:
    """Return the status and the body; of an error the server's message alone."""
    status, content = request(server.url, method, path, LOAD_SECONDS, {} if method == "POST" else None)
    return status, content.decode(errors="replace") if status == http.client.OK else error_message(status, content)
