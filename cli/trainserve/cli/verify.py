"""`trainserve verify`: check a model's bytes, and the answers of a running server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from trainserve.api.pod import Port
from trainserve.cli import endpoint
from trainserve.client import BadInput, Protocol
from trainserve.serving.samples.recorded import Recorded
from trainserve.serving.sources import address, source
from trainserve.serving.sources.ready_repository import ReadyRepository
from trainserve.serving.sources.servable import Servable
from trainserve.serving.verification import other_versions, reference
from trainserve.serving.verification.report import Fault, Files, Kind, Report
from trainserve.serving.verification.user_samples import Given
from trainserve.serving.verification.verification import Progress
from trainserve.serving.verification.verification import verify as run
from trainserve.store import DigestMismatch
from trainserve.store.signing import InvalidKey, PublicKey, SignatureRefused

_REFERENCES = {
    "given": "the answers in --given",
    "pytorch": "PyTorch's answers",
    "script": "the answers that the training script recorded",
    "none": "onnxruntime's answers, as no others were recorded",
}


@click.command(epilog="Example: trainserve verify 127.0.0.1:8000 .dev/store/default/digits/1 --grpc-url 127.0.0.1:8001")
@click.argument("arguments", nargs=-1, required=True, metavar="[URL] MODEL")
@click.option(
    "--grpc-url",
    help="host:port of the server's gRPC endpoint (default: port 8001 if that of URL is 8000, else gRPC is not"
    " verified).",
)
@click.option("--model", "name", help="Name under which the server serves the model (default: the model's own).")
@click.option(
    "--key",
    type=click.Path(path_type=Path, dir_okay=False),
    help="PEM file of the public key that must have signed MODEL.",
)
@click.option(
    "--samples",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    help="Maximum number of recorded samples to send.",
)
@click.option(
    "--given",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    metavar="FILE.npz",
    help="Real inputs for an .onnx file: an array named after each input. Arrays named after outputs are the expected"
    " answers (default: onnxruntime's answers).",
)
@click.option(
    "-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True, help="Output format."
)
def verify(
    arguments: tuple[str, ...],
    grpc_url: str | None,
    name: str | None,
    key: Path | None,
    samples: int,
    given: Path | None,
    output: str,
) -> None:
    """Check a model's bytes, and the answers of a server.

    MODEL is a version in the store, an .onnx file or a Triton repository, given as a path or a pvc://, s3:// or
    https:// address; each of its bytes is checked. With URL, the host:port of a server's HTTP endpoint, the model's
    recorded samples are sent to that server over HTTP and gRPC, one at a time, in the largest batch that it takes and
    concurrently, and must be answered as recorded. Exit status: 0 if verified, 1 if not, 2 for bad input.
    """
    if len(arguments) > 2:
        raise click.UsageError("give [URL] MODEL")
    model, urls = arguments[-1], arguments[:-1]
    if not urls and (grpc_url or name or given):
        raise click.UsageError("--grpc-url, --model and --given require a URL")
    http = _address("URL", urls[0], "http") if urls else None
    grpc = _address("--grpc-url", grpc_url, "grpc") if grpc_url else None
    if http and not grpc and http.endswith(f":{Port.HTTP}"):
        grpc = f"{http.rpartition(':')[0]}:{Port.GRPC}"
    console = Console(stderr=True)
    with _telling(console) as tell:
        report = _verified(model, http, grpc, name, key, samples, given, tell)
    if output == "json":
        click.echo(json.dumps(report.as_json(), indent=2))
    else:
        _show(Console(soft_wrap=True, highlight=False), report)
    if not report.verified:
        raise click.exceptions.Exit(1)


def _verified(
    model: str,
    http: str | None,
    grpc: str | None,
    name: str | None,
    key: Path | None,
    samples: int,
    given: Path | None,
    tell: Progress,
) -> Report:
    at = address.parse(model)
    try:
        trusted = PublicKey.load(key) if key else None
        tell("reading MODEL")
        opened = source.open_model(
            model, key=trusted, release=None, progress=lambda name, done, total: tell(f"reading {name}: {done:,} bytes")
        )
    except InvalidKey as error:
        raise click.BadParameter(str(error), param_hint="--key") from error
    except (DigestMismatch, SignatureRefused) as error:
        fault = Fault(Kind.ALTERED_FILE, "MODEL differs from what was published", [str(error)])
        return Report(False, at.name, None, "", files=Files(False, str(error)), fault=fault)
    signer = trusted.fingerprint if trusted else None
    files = Files(True, _checked(opened, trusted), *_size(opened), signed_by=signer)
    if isinstance(opened, ReadyRepository):
        if http:
            raise click.BadParameter(f"{model} is a Triton repository; with URL, must be a version or an .onnx file")
        return Report(True, at.name, None, opened.digest, files=files)
    if http is None:
        version = opened.manifest.version if opened.manifest else None
        return Report(True, opened.name, version, opened.digest, files=files)
    try:
        recorded = _recorded(opened, samples, given)
    except (OSError, ValueError, reference.NoReference) as error:
        raise click.BadParameter(f"{model}: no samples to verify a server with: {error}") from error
    others = other_versions.others(at, samples)
    return run(http, grpc, opened, recorded, model=name, files=files, others=others, progress=tell)


def _recorded(servable: Servable, samples: int, given: Path | None) -> Recorded:
    if given is not None:
        if servable.manifest:
            raise ValueError("--given requires an .onnx file; a version has recorded samples of its own")
        recorded = Given.load(given, servable, samples).recorded(batched=servable.batched)
        if not recorded.outputs:
            raise reference.NoReference(
                "onnxruntime cannot answer those of --given here, and it has no expected answers"
            )
        return recorded
    if servable.manifest and servable.samples:
        return Recorded.of(servable.manifest, servable.samples, samples)
    return reference.recorded(servable, min(samples, 16))


def _checked(opened: Servable | ReadyRepository, trusted: PublicKey | None) -> str:
    if isinstance(opened, Servable) and opened.manifest:
        return "every byte is as published"
    return "every byte is as signed" if trusted else "readable; there is no digest to compare with"


def _size(opened: Servable | ReadyRepository) -> tuple[int, int]:
    paths = [path for path in opened.folder.rglob("*") if path.is_file()]
    if isinstance(opened, Servable):
        names = opened.manifest.files if opened.manifest else opened.files
        paths = [opened.folder / name for name in names]
    return len(paths), sum(path.stat().st_size for path in paths)


def _address(option: str, url: str, protocol: Protocol) -> str:
    try:
        return endpoint.parse(url, protocol)[0]
    except BadInput as error:
        raise click.BadParameter(str(error), param_hint=option) from error


@contextmanager
def _telling(console: Console) -> Iterator[Progress]:
    """Yield a function that shows the current step, if `console` is a terminal."""
    if not console.is_terminal:
        yield lambda line: None
        return
    with console.status("") as status:
        yield lambda line: status.update(escape(line))


def _show(console: Console, report: Report) -> None:
    version = f" version {report.version}" if report.version is not None else ""
    console.print(f"[bold]{escape(report.model)}[/bold]{version}  {report.digest[:19]}")
    if report.files and report.files.matches:
        signed = f", signed by key {report.files.signed_by}" if report.files.signed_by else ""
        console.print(f"files    {report.files.files} ({report.files.bytes:,} bytes): {report.files.message}{signed}")
    if report.url:
        protocols = f"http {report.url}" + (f", grpc {report.grpc_url}" if report.grpc_url else "")
        console.print(f"server   {report.server or 'unknown'} at {protocols}, served as {report.served_as}")
        console.print(
            f"samples  {report.samples}, compared with {_REFERENCES[report.reference or 'none']}, "
            f"within rtol {report.rtol:g} and atol {report.atol:g}"
        )
    if report.runs:
        console.print(_table(report))
    if report.labels:
        labels = report.labels
        right = f"{labels.classes - len(labels.wrong)} of {labels.classes} equal"
        classes = f"; most likely class equal in {labels.same} of {labels.samples} samples" if labels.samples else ""
        console.print(f"labels   {right}{classes}")
    if worst := report.worst:
        at = worst.position if len(worst.expected) > 1 else 0
        console.print(
            f"worst    sample {worst.sample}, {escape(worst.output)}\\[{worst.position}]: "
            f"expected {_value(worst.expected[at])}, got {_value(worst.got[at])}"
        )
    for note in report.notes:
        console.print(f"note     {escape(note)}")
    if report.verified:
        console.print("[bold green]verified[/bold green]")
        return
    console.print("[bold red]not verified[/bold red]")
    if report.fault:
        console.print(f"most likely fault: [bold]{report.fault.kind}[/bold]: {escape(report.fault.message)}")
        for line in report.fault.evidence:
            console.print(f"  - {escape(line)}")


def _value(value: object) -> str:
    return escape(repr(value)) if isinstance(value, str) else f"{value:.6g}"


def _table(report: Report) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="")
    table.add_column("PROTOCOL")
    for name in ("BATCH", "CONCURRENT", "REQUESTS", "P50 MS", "P99 MS", "MAX DIFF"):
        table.add_column(name, justify="right")
    table.add_column("RESULT")
    for each in report.runs:
        numbers = [each.p50_ms, each.p99_ms, each.max_abs]
        shown = ["-" if number is None else f"{number:.3g}" for number in numbers]
        result = "[red]failed[/red]" if each.max_abs is None else "[red]wrong[/red]"
        if each.matches:
            result = "[green]equal[/green]"
        table.add_row(each.protocol, str(each.batch), str(each.concurrency), str(each.requests), *shown, result)
    return table
