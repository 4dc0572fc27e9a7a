"""`trainserve serve`: serve models with the development server, verified, watched and recovered."""

from __future__ import annotations

import errno
import signal
import socket
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import click
from rich.console import Console
from rich.markup import escape

from trainserve.api.pod import Endpoint, Port
from trainserve.cli.fetching import fetching
from trainserve.client import BadInput
from trainserve.serving.devserver import runtime
from trainserve.serving.devserver.server import ServerNotReady
from trainserve.serving.devserver.supervisor import Change, NothingServed, Supervisor
from trainserve.serving.protocol.triton_types import UnservableModel
from trainserve.serving.repository import repository, unbatched
from trainserve.serving.repository.flags import server_flags
from trainserve.serving.repository.settings import InvalidSettings, Settings
from trainserve.serving.repository.unbatched import Unbatched
from trainserve.serving.samples.ensemble_samples import around
from trainserve.serving.samples.recorded import Recorded
from trainserve.serving.sources import source
from trainserve.serving.sources.ready_repository import ReadyRepository
from trainserve.serving.sources.servable import Servable
from trainserve.serving.verification.user_samples import BadSamples, Given
from trainserve.store.signing import PublicKey

ADDRESS = "127.0.0.1"
SAMPLES = 64
_COLOURS = {"ready": "green", "failed": "red", "recovering": "yellow", "restarting": "yellow", "unwatched": "yellow"}


@click.command(epilog="Example: trainserve serve .dev/store/default/digits/1")
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option(
    "--settings",
    "file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="YAML or JSON file with the fields of a ModelServe's spec.triton, for every MODEL; trainserve tune can write"
    " it.",
)
@click.option(
    "--samples",
    "given",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    metavar="FILE.npz",
    help="Real inputs for the one .onnx file among the MODELs: an array named after each input. Arrays named after"
    " outputs are the expected answers (default: onnxruntime's answers).",
)
@click.option(
    "--key",
    type=click.Path(path_type=Path, dir_okay=False),
    help="PEM file of the public key that must have signed each MODEL.",
)
@click.option(
    "--http-port",
    type=click.IntRange(1, 65535),
    default=Port.HTTP.value,
    show_default=True,
    help="Port of the HTTP endpoint.",
)
@click.option(
    "--grpc-port",
    type=click.IntRange(1, 65535),
    default=Port.GRPC.value,
    show_default=True,
    help="Port of the gRPC endpoint.",
)
@click.option(
    "--metrics-port",
    type=click.IntRange(1, 65535),
    default=Port.METRICS.value,
    show_default=True,
    help="Port of the metrics.",
)
def serve(
    models: tuple[str, ...],
    file: Path | None,
    given: Path | None,
    key: Path | None,
    http_port: int,
    grpc_port: int,
    metrics_port: int,
) -> None:
    """Serve models on this machine with a development server.

    Each MODEL is served over HTTP and gRPC on 127.0.0.1 until Ctrl-C or SIGTERM. MODEL is a version in the store or an
    .onnx file, given as a path or a pvc://, s3:// or https:// address; or there is one MODEL, a ready Triton
    repository.

    A model is ready once its recorded samples are answered correctly; without recorded samples, once it answers
    synthetic inputs. It is probed every second and reloaded if it does not answer. A model that fails does not affect
    the others.
    """
    stopped = threading.Event()
    interrupted: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        interrupted.append(number)
        stopped.set()

    console = Console(soft_wrap=True, highlight=False)
    settings = _settings(file)
    opened = [_opened(model, key) for model in models]
    ports = {"http": http_port, "grpc": grpc_port, "metrics": metrics_port}
    _check_free(ports)
    with tempfile.TemporaryDirectory(prefix="trainserve-serve-") as folder:
        laid_out, recorded, alone = _lay_out(opened, settings, given, Path(folder) / "repository")
        ready = any(isinstance(each, ReadyRepository) for each in opened)
        flags = server_flags(laid_out, ADDRESS, [settings], supervised=True, described=not ready)
        numbers = [f"--{name}-port={number}" for name, number in ports.items()]
        with console.status("development server") if console.is_terminal else _Quiet() as status:
            command = runtime.install(progress=lambda line: status.update(escape(line)))
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop)
        console.print(
            f"http     http://{ADDRESS}:{http_port}\n"
            f"grpc     {ADDRESS}:{grpc_port}\n"
            f"metrics  http://{ADDRESS}:{metrics_port}{Endpoint.METRICS}"
        )
        supervisor = Supervisor(
            [str(command), *flags, *numbers, "--guard=hold"],
            laid_out,
            Path(folder) / "log",
            f"{ADDRESS}:{http_port}",
            recorded,
            lambda change: _show(console, change),
            alone,
        )
        try:
            supervisor.run(stopped)
        except (ServerNotReady, NothingServed) as error:
            raise click.ClickException(str(error)) from error
    if interrupted and interrupted[0] == signal.SIGINT:
        raise click.exceptions.Exit(130)


class _Quiet:
    """A status line that is not shown, for output that is not a terminal."""

    def __enter__(self) -> _Quiet:
        return self

    def __exit__(self, *error: object) -> None: ...

    def update(self, line: str) -> None: ...


def _settings(file: Path | None) -> Settings:
    try:
        return Settings.of_file(file) if file else Settings()
    except InvalidSettings as error:
        raise BadInput(str(error)) from error


def _opened(model: str, key: Path | None) -> Servable | ReadyRepository:
    with fetching() as progress:
        return source.open_model(model, key=PublicKey.load(key) if key else None, progress=progress)


def _lay_out(
    opened: Sequence[Servable | ReadyRepository], settings: Settings, given: Path | None, folder: Path
) -> tuple[Path, dict[str, Recorded | Given | None], dict[str, Unbatched]]:
    """Write the model repository into `folder`, unless `opened` is a ready one.

    Returns its path; the samples to verify each model with: those recorded, or those in the file `given`; and the
    configuration of each model without batching.
    """
    first = opened[0]
    if isinstance(first, ReadyRepository) and len(opened) == 1:
        if given is not None:
            raise BadInput("--samples requires an .onnx file as MODEL, not a ready Triton repository")
        return first.folder, dict.fromkeys(first.models), {}
    servables = [each for each in opened if isinstance(each, Servable)]
    if len(servables) < len(opened):
        raise BadInput("a ready Triton repository must be the only MODEL")
    try:
        entries = repository.entries(servables, settings)
        folders = repository.layout(entries)
        alone = unbatched.of(entries, folders)
        repository.write_folders(folders, folder)
    except (InvalidSettings, UnservableModel, ValueError) as error:
        raise BadInput(str(error)) from error
    samples: dict[str, Recorded | Given | None] = dict.fromkeys(each.config.name for each in folders)
    for model in sorted(servables, key=lambda each: each.manifest.version if each.manifest else 0):
        if model.manifest is not None and model.samples is not None:  # the newest of several versions answers
            recorded = samples[model.name] = Recorded.of(model.manifest, model.samples, SAMPLES)
            known = around(model.name, model, recorded)
            samples |= {name: known[name] for name in known.keys() & samples.keys()}
    return folder, samples | _given(servables, given), alone


def _given(servables: Sequence[Servable], file: Path | None) -> dict[str, Given]:
    """The samples in `file`, by the name of the model that they are for."""
    if file is None:
        return {}
    lone = [each for each in servables if each.manifest is None]
    if len(lone) != 1:
        raise BadInput(f"--samples requires exactly one .onnx file among the MODELs; given {len(lone)}")
    try:
        return {lone[0].name: Given.load(file, lone[0])}
    except BadSamples as error:
        raise BadInput(str(error)) from error


def _check_free(ports: dict[str, int]) -> None:
    if len(set(ports.values())) < len(ports):
        raise BadInput(f"ports must differ; given {', '.join(f'{name} {port}' for name, port in ports.items())}")
    for name, port in ports.items():
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind((ADDRESS, port))
            except OSError as error:
                words = "is in use" if error.errno == errno.EADDRINUSE else error.strerror
                raise click.ClickException(f"--{name}-port: {ADDRESS}:{port} {words}") from error


def _show(console: Console, change: Change) -> None:
    colour = _COLOURS.get(change.state)
    state = f"[{colour}]{change.state}[/]" if colour else change.state
    reason = " ".join(change.message.split())
    console.print(f"{escape(change.model or 'server')}: {state}{f' ({escape(reason)})' if reason else ''}")
