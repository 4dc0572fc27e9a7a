"""`trainserve config`: print a model's config.pbtxt, and check that a real server accepts it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trainserve.serving.pod.duration_option import SECONDS

if TYPE_CHECKING:
    from trainserve.serving.repository.repository import Folder


@click.command(epilog="Example: trainserve config .dev/store/default/digits/3 --settings settings.yaml --check")
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option(
    "--settings",
    "path",
    metavar="FILE",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="YAML or JSON file with the fields of a ModelServe's spec.triton.",
)
@click.option("--gpus", type=click.IntRange(0), default=0, show_default=True, help="Number of GPUs of the server.")
@click.option(
    "--release",
    metavar="RELEASE",
    help="Triton release or image to write the configuration for, such as 26.08 (default: the release of the"
    " development server). The release must support the model's graph; if it has a latency histogram, the buckets"
    " are configured, too.",
)
@click.option("--p99", type=SECONDS, help="Latency objective, such as 20ms, around which those buckets lie.")
@click.option(
    "--check",
    is_flag=True,
    help="Start a development server with the configuration and compare each field with what the server reports; exit"
    " 1 if they differ or a model is not loaded. GPU instances are tried on the CPU.",
)
def config(
    models: Sequence[str], path: Path | None, gpus: int, release: str | None, p99: float | None, check: bool
) -> None:
    """Print the Triton configuration of each MODEL.

    MODEL is a version in the store, an .onnx file or a ready Triton model repository, given as a path or an s3:// or
    https:// address; several with the same name are versions of one model. If the settings ask for an ensemble, the
    config.pbtxt of each of its steps is printed, too. Comments at the top are the flags that tritonserver needs.
    """
    from trainserve.api.latency_buckets import triton_bounds
    from trainserve.api.triton_releases import has_histogram
    from trainserve.cli.fetching import fetching
    from trainserve.serving.repository.model_config import config_text
    from trainserve.serving.repository.repository import entries, layout, of_ready, server_flags
    from trainserve.serving.repository.settings import Settings, cautions
    from trainserve.serving.sources import releases
    from trainserve.serving.sources.ready_repository import ReadyRepository
    from trainserve.serving.sources.servable import Servable
    from trainserve.serving.sources.source import open_model

    settings = Settings.of_file(path) if path else Settings()
    buckets = triton_bounds(p99) if has_histogram(release) else ()
    with fetching() as progress:
        server = release or releases.DEVELOPMENT
        opened = [open_model(model, release=server, progress=progress) for model in models]
    ready = [each for each in opened if isinstance(each, ReadyRepository)]
    if ready and (path or gpus):
        raise click.UsageError("a ready repository has its own configuration: --settings and --gpus do not apply")
    folders = [folder for each in ready for folder in of_ready(each)]
    folders += layout(entries([each for each in opened if isinstance(each, Servable)], settings), gpus, buckets)
    flags = server_flags([settings], histogram=bool(buckets))
    for flag in flags:
        click.echo(f"# tritonserver {flag}")
    for position, folder in enumerate(folders):
        if len(folders) > 1:
            click.echo(f"{chr(10) if position or flags else ''}# {folder.config.name}/config.pbtxt")
        click.echo(config_text(folder.config), nl=False)
    for caution in cautions(settings):
        _tell(caution)
    for folder in folders:
        if folder.batching is not None and folder.batching.axis == "none":
            _tell(f"{folder.config.name} is not batched: {folder.batching.reason}")
    if check:
        _check(folders, flags, histogram=bool(buckets))


def _tell(line: str) -> None:
    click.echo(f"trainserve: {line}", err=True)


def _check(folders: Sequence[Folder], flags: Sequence[str], histogram: bool) -> None:
    from trainserve.serving.devserver import config_check, runtime
    from trainserve.serving.devserver.server import ServerNotReady

    if histogram:
        _tell("model_metrics is not checked: the development server, Triton 24.10, does not support it")
        folders = [config_check.without_histogram(folder) for folder in folders]
    try:
        refusals = config_check.check(runtime.install(progress=_tell), folders, flags)
    except (runtime.RuntimeInstallError, ServerNotReady) as error:
        raise click.ClickException(str(error)) from None
    for refusal in refusals:
        _tell(f"the server does not accept the configuration: {refusal}")
    if refusals:
        sys.exit(1)
    _tell(f"the server accepts the configuration: {', '.join(folder.config.name for folder in folders)}")
