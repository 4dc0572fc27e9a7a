"""`trainserve tune`: find the settings that meet a latency objective, measured on a real server."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from trainserve.cli import parameters
from trainserve.cli.fetching import fetching
from trainserve.client import BadInput, RequestFailed
from trainserve.serving.devserver import runtime
from trainserve.serving.devserver.server import ServerNotReady
from trainserve.serving.load import chart
from trainserve.serving.load.chart import UnknownFormat
from trainserve.serving.protocol.triton_types import UnservableModel
from trainserve.serving.repository.settings import InvalidSettings, Settings
from trainserve.serving.samples.load_inputs import ShapeUnknown
from trainserve.serving.sources import source
from trainserve.serving.sources.servable import Servable
from trainserve.serving.tune import plot as plots
from trainserve.serving.tune import saved, tuner
from trainserve.serving.tune.choice import Row
from trainserve.serving.tune.result import Result, wire
from trainserve.serving.tune.trial import Measurement, Objective

MINUTES = 4.0
_STAGES = {
    "calibrate": "finding the number of callers",
    "halve": "comparing candidates, keeping the better half",
    "rate": "finding the highest rate of the finalists",
    "confirm": "confirming the finalists, in turn",
    "asked": "measuring the choice at --rate",
}


@click.command(epilog="Example: trainserve tune .dev/store/default/digits/1 --p99 20ms -o settings > settings.yaml")
@click.argument("address", metavar="MODEL")
@click.option(
    "--p99",
    "p99_ms",
    type=parameters.MILLISECONDS,
    required=True,
    help="Latency objective, such as 20ms, that 99 of 100 requests must meet.",
)
@click.option(
    "--rate",
    type=parameters.RATE,
    help="Expected requests per second, such as 500/s (default: as many as the server can answer).",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, parameters.MOST_CALLERS),
    help="Instead of --rate: expected number of callers that each wait for their answer.",
)
@click.option(
    "--minutes",
    type=click.FloatRange(0.5, 120),
    default=MINUTES,
    show_default=True,
    help="Approximate minutes to measure.",
)
@click.option(
    "--settings",
    "file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="YAML or JSON file with the fields of a ModelServe's spec.triton, for the settings that are not tuned.",
)
@click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    default=saved.FOLDER,
    show_default=True,
    help="Folder of cached results.",
)
@click.option("--again", is_flag=True, help="Measure even if a result is cached.")
@click.option(
    "--plot",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Draw the table to FILE (.png or .svg).",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json", "settings"]),
    default="table",
    show_default=True,
    help="Output format; settings is what trainserve serve --settings and a ModelServe's spec.triton take.",
)
def tune(
    address: str,
    p99_ms: float,
    rate: float | None,
    concurrency: int | None,
    minutes: float,
    file: Path | None,
    cache: Path,
    again: bool,
    plot: Path | None,
    output: str,
) -> None:
    """Find the fastest settings that meet a latency objective.

    MODEL is a version in the store or an .onnx file, given as a path or an s3:// or https:// address. Batch sizes,
    queue delays, instances and threads are measured on a real server on this machine, which should be otherwise idle.
    Results are cached by digest, hardware and server. Exit status: 0 if the objective is met, 1 if not, 2 for bad
    input.
    """
    if rate is not None and concurrency is not None:
        raise click.UsageError("give either --concurrency or --rate")
    try:
        if plot is not None:
            chart.check(plot)
        settings = Settings.of_file(file) if file else Settings()
    except (UnknownFormat, InvalidSettings) as error:
        raise BadInput(str(error)) from None
    objective = Objective(p99_ms, rate, concurrency)
    with fetching() as progress:
        model = source.open_servable(address, progress=progress)
    path = saved.path(cache, tuner.subject(model), objective, [minutes, wire(settings)])
    result = None if again else saved.find(path)
    if result is None:
        result = _measured(model, objective, minutes * 60, settings)
        saved.keep(result, path)
    else:
        click.echo(f"trainserve: cached result ({path}); --again measures it again", err=True)
    if plot is not None:
        chart.write(plots.chart(result), plot)
    choice = result.choice
    if output == "json":
        click.echo(json.dumps(result.as_dict(), indent=2))
    elif output == "table":
        _show(Console(soft_wrap=True, highlight=False), result)
    elif choice is not None:
        click.echo(json.dumps(wire(choice.candidate.settings), indent=2))
    if choice is None:
        words = result.needed.message if result.needed else "nothing was measured"
        if output == "table":
            raise click.exceptions.Exit(1)
        raise RequestFailed(words)


def _measured(model: Servable, objective: Objective, seconds: float, settings: Settings) -> Result:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("starting the server", total=seconds)
        begun = time.monotonic()

        def watch(measurement: Measurement) -> None:
            passed = min(seconds, time.monotonic() - begun)
            words = f"{_STAGES[measurement.trial.stage]}: {measurement.trial.candidate}"
            progress.update(task, completed=passed, description=words)

        try:
            return tuner.tune(runtime.install(), model, objective, seconds, settings, watch)
        except (ShapeUnknown, UnservableModel, InvalidSettings) as error:
            raise BadInput(str(error)) from None
        except ServerNotReady as error:
            raise RequestFailed(str(error)) from None


def _show(console: Console, result: Result) -> None:
    callers = next((row.closed.load.callers for row in result.table if row.closed), None)
    console.print(f"{result.subject.model}: p99 ≤ {result.objective.p99_ms:g} ms (rates per second, latencies in ms)")
    table = Table(box=None, pad_edge=False)
    closed = f"{callers} caller{'' if callers == 1 else 's'}"
    for heading in ("", "batch", "delay", "inst x thr", closed, "p99", "rate", "p99 ≤"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    table.add_column("")
    choice = result.choice
    for row in result.table:
        chosen = choice is not None and row.candidate.name == choice.candidate.name
        table.add_row(*_cells(row, chosen), style="bold green" if chosen else "")
    console.print(table)
    cores, cpu = result.subject.hardware["cores"], result.subject.hardware["cpu"]
    console.print(f"{len(result.measurements)} measurements in {result.seconds:.0f} s on {cores} cores of {cpu}")
    if choice is not None:
        console.print(f"chosen: {json.dumps(wire(choice.candidate.settings))}")
    if (at := result.at_rate) is not None:
        console.print(f"at {at.load.rate:g}/s: p50 {at.p50_ms:.3g} ms, p99 {at.p99_ms:.3g} ms")
    if result.needed is not None:
        console.print(f"needed: {result.needed.message}")


def _cells(row: Row, chosen: bool) -> list[str]:
    settings = row.candidate.settings
    batching = settings.dynamic_batching
    tried = [str(batching.max_batch), batching.max_queue_delay or "-", f"{settings.instances} x {settings.threads}"]
    closed = ["", ""] if row.closed is None else [f"{row.closed.rate:,.0f}", f"{row.closed.p99_ms:.3g}"]
    held, verdict = ["", ""], row.failure[:40]
    if row.held is not None:
        found = row.held
        held = [f"{found.load.rate or found.rate:,.0f}", f"{found.p99_upper_ms:.3g}"]
        verdict = "chosen" if chosen else "holds" if found.holds else "fails"
    return [row.candidate.name, *tried, *closed, *held, verdict]
