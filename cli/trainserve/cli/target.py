"""What a load is sent to: a server that runs, or a model that is served for as long as it is measured."""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainserve.cli import endpoint
from trainserve.cli.fetching import fetching
from trainserve.client import BadInput, Client, Protocol, RequestFailed
from trainserve.serving import load_inputs, repository, runtime, source
from trainserve.serving.load import Prepared
from trainserve.serving.repository import Entry
from trainserve.serving.server import DevelopmentServer, ServerNotReady
from trainserve.serving.settings import Settings

_ADDRESS = re.compile(r"(?:(?:http|grpcs?)://)?(?:\[[0-9a-fA-F:]+\]|[^/:\s]+):[0-9]+/?")


@dataclass(frozen=True)
class Target:
    """An address (host:port), and requests in its protocol for the model called `name`."""

    address: str
    name: str
    request: Prepared


def is_server(text: str) -> bool:
    """Whether it is host:port, http://host:port or grpc://host:port; everything else is a model's address."""
    return _ADDRESS.fullmatch(text) is not None


@contextlib.contextmanager
def opened(text: str, name: str | None, protocol: Protocol | None, settings: Settings | None) -> Iterator[Target]:
    """The server at `text`, or one that is started for the model at `text`. Raises BadInput, RequestFailed."""
    if is_server(text):
        if settings is not None:
            raise BadInput(f"--settings goes with a model; {text} is a server that has its own")
        address, protocol = endpoint.parse(text, protocol)
        yield _running(address, protocol, name)
        return
    if name is not None:
        raise BadInput("--model goes with a server's address")
    protocol = protocol or "http"
    with fetching() as progress:
        model = source.open_servable(text, progress=progress)
    with tempfile.TemporaryDirectory(prefix="trainserve-bench-") as folder:
        models = Path(folder) / "repository"
        settings = settings or Settings()
        repository.write([Entry(model.name, model, settings)], models)
        flags = ["--disable-auto-complete-config", *repository.server_flags([settings])]
        server = DevelopmentServer(runtime.install(), models, Path(folder) / "log", *flags, guard=False)
        try:
            server.start()
            rows, outputs = load_inputs.of_model(model), [tensor.name for tensor in model.outputs]
            request = Prepared.inferences(protocol, model.name, rows, outputs)
            yield Target(server.url if protocol == "http" else server.grpc_url, model.name, request)
        except ServerNotReady as error:
            raise RequestFailed(str(error)) from None
        except load_inputs.ShapeUnknown as error:
            raise BadInput(str(error)) from None
        finally:
            server.kill()


def _running(address: str, protocol: Protocol, name: str | None) -> Target:
    with Client(address, protocol) as client:
        names = client.models()
        model = client.model(_one(names, name, address))
    try:
        rows = load_inputs.random([(tensor.name, tensor.dtype, tensor.shape) for tensor in model.inputs])
    except load_inputs.ShapeUnknown as error:
        raise BadInput(str(error)) from None
    outputs = [tensor.name for tensor in model.outputs]
    return Target(address, model.name, Prepared.inferences(protocol, model.name, rows, outputs))


def _one(names: Sequence[str], name: str | None, address: str) -> str:
    if name is None and len(names) == 1:
        return names[0]
    if name is None or name not in names:
        wanted = "name one with --model" if name is None else f"not {name}"
        raise BadInput(f"{address} serves {', '.join(names) or 'no model'}; {wanted}")
    return name
