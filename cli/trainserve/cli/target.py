"""Targets of a load: a running server, or a development server that is started for a model."""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainserve.api.pod import COMPLETE_CONFIGURATION
from trainserve.cli import endpoint
from trainserve.cli.fetching import fetching
from trainserve.client import BadInput, Client, Protocol, RequestFailed
from trainserve.serving.devserver import runtime
from trainserve.serving.devserver.server import DevelopmentServer, ServerNotReady
from trainserve.serving.load.requests import Arrays, Prepared
from trainserve.serving.repository import repository
from trainserve.serving.repository.repository import Entry
from trainserve.serving.repository.settings import Settings
from trainserve.serving.samples import load_inputs
from trainserve.serving.sources import source
from trainserve.serving.sources.servable import Servable

_ADDRESS = re.compile(r"(?:(?:http|grpcs?)://)?(?:\[[0-9a-fA-F:]+\]|[^/:\s]+):[0-9]+/?")


@dataclass(frozen=True)
class Target:
    """An address (host:port), and requests in its protocol for the model called `name`."""

    address: str
    name: str
    request: Prepared


def is_server(text: str) -> bool:
    """Whether `text` is host:port, http://host:port or grpc://host:port; anything else is a model's address."""
    return _ADDRESS.fullmatch(text) is not None


@contextlib.contextmanager
def opened(
    text: str,
    name: str | None,
    protocol: Protocol | None,
    settings: Settings | None,
    given: Mapping[str, Sequence[int]],
) -> Iterator[Target]:
    """Yield the server at `text`, or one that is started for the model at `text`; `given` are shapes of its inputs.

    Raises BadInput, RequestFailed.
    """
    if is_server(text):
        if settings is not None:
            raise BadInput(f"--settings requires a MODEL; {text} is a running server")
        address, protocol = endpoint.parse(text, protocol)
        yield _running(address, protocol, name, given)
        return
    if name is not None:
        raise BadInput("--model requires the URL of a server")
    protocol = protocol or "http"
    with fetching() as progress:
        model = source.open_servable(text, progress=progress)
    rows, outputs = _rows(model, given), [tensor.name for tensor in model.outputs]
    with tempfile.TemporaryDirectory(prefix="trainserve-bench-") as folder:
        models = Path(folder) / "repository"
        settings = settings or Settings()
        repository.write([Entry(model.name, model, settings)], models)
        flags = [COMPLETE_CONFIGURATION, *repository.server_flags([settings])]
        server = DevelopmentServer(runtime.install(), models, Path(folder) / "log", *flags, guard=False)
        try:
            server.start()
            request = Prepared.inferences(protocol, model.name, rows, outputs)
            yield Target(server.url if protocol == "http" else server.grpc_url, model.name, request)
        except ServerNotReady as error:
            raise RequestFailed(str(error)) from None
        finally:
            server.kill()


def _rows(model: Servable, given: Mapping[str, Sequence[int]]) -> list[Arrays]:
    if model.samples is not None and not given:
        return load_inputs.of_model(model)
    return _random([(tensor.name, np.dtype(tensor.dtype), tensor.shape) for tensor in model.inputs], given)


def _random(tensors: load_inputs.Tensors, given: Mapping[str, Sequence[int]]) -> list[Arrays]:
    try:
        return load_inputs.random(load_inputs.closed(tensors, given))
    except load_inputs.ShapeUnknown as error:
        raise BadInput(f"{error}, or its shape with --shape") from None
    except load_inputs.WrongShape as error:
        raise BadInput(f"--shape: {error}") from None


def _running(address: str, protocol: Protocol, name: str | None, given: Mapping[str, Sequence[int]]) -> Target:
    with Client(address, protocol) as client:
        names = client.models()
        model = client.model(_one(names, name, address))
    rows = _random([(tensor.name, tensor.dtype, tensor.shape) for tensor in model.inputs], given)
    outputs = [tensor.name for tensor in model.outputs]
    return Target(address, model.name, Prepared.inferences(protocol, model.name, rows, outputs))


def _one(names: Sequence[str], name: str | None, address: str) -> str:
    if name is None and len(names) == 1:
        return names[0]
    if name is None or name not in names:
        wanted = "name one with --model" if name is None else f"not {name}"
        raise BadInput(f"{address} serves {', '.join(names) or 'no model'}; {wanted}")
    return name
