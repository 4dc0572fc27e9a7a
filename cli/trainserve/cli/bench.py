"""`trainserve bench`: measure the throughput and latency of a server under load."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from trainserve.cli import parameters, target
from trainserve.client import BadInput, Protocol, RequestFailed
from trainserve.serving.load import chart, loops
from trainserve.serving.load.chart import Chart, Series, UnknownFormat
from trainserve.serving.load.latency import Summary, percentile, summary
from trainserve.serving.load.record import LoadFailed, Sample
from trainserve.serving.repository.settings import InvalidSettings, Settings

WARM_UP_SECONDS = 0.5
PERCENTS = (50.0, 75.0, 90.0, 95.0, 98.0, 99.0, 99.5, 99.8, 99.9, 99.95, 99.99)


@click.command(epilog="Example: trainserve bench .dev/store/default/digits/1 --concurrency 1,8,32 --plot latency.png")
@click.argument("where", metavar="URL|MODEL")
@click.option(
    "--concurrency",
    type=parameters.COUNTS,
    help="Numbers of concurrent callers to measure one after another (closed loop: each waits for its answer before it"
    " sends again).  [default: 1,8,32]",
)
@click.option(
    "--rate",
    type=parameters.RATE,
    help="Instead of --concurrency: requests per second, such as 500/s, sent at random times whether or not the server"
    " keeps up (open loop).",
)
@click.option("--constant", is_flag=True, help="With --rate: send at even intervals instead of at random times.")
@click.option(
    "--protocol",
    type=click.Choice(["http", "grpc"]),
    help="Protocol of the requests (default: that of URL, else http).",
)
@click.option("--model", "name", help="With URL: name of the model (default: the only one served).")
@click.option(
    "--settings",
    "file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="With MODEL: YAML or JSON file with the fields of a ModelServe's spec.triton.",
)
@click.option(
    "--shape",
    "shapes",
    type=parameters.SHAPE,
    multiple=True,
    help="Shape, batch included, of an input that has axes of any length, such as tokens:1,128. Repeat for each such"
    " input.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0.1, 3600),
    default=5.0,
    show_default=True,
    help="Seconds to measure each load, after the warm-up.",
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Draw the latencies by percentile to FILE (.png or .svg).",
)
@click.option(
    "-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True, help="Output format."
)
def bench(
    where: str,
    concurrency: list[int] | None,
    rate: float | None,
    constant: bool,
    protocol: Protocol | None,
    name: str | None,
    file: Path | None,
    shapes: tuple[tuple[str, tuple[int, ...]], ...],
    seconds: float,
    plot: Path | None,
    output: str,
) -> None:
    """Measure latency and throughput of a server or a model.

    URL is the address of a running server: host:port, http://host:port or grpc://host:port. MODEL is a version in the
    store or an .onnx file, given as a path or an s3:// or https:// address; a development server is started for it and
    its recorded samples are sent, one per request. With --rate, latency counts from the time at which a request was
    due to be sent, so that a stall of the server shows in every request that was due meanwhile.
    """
    if rate is not None and concurrency is not None:
        raise click.UsageError("give either --concurrency or --rate")
    if constant and rate is None:
        raise click.UsageError("--constant requires --rate")
    try:
        if plot is not None:
            chart.check(plot)
        settings = Settings.of_file(file) if file else None
    except (UnknownFormat, InvalidSettings) as error:
        raise BadInput(str(error)) from None
    console = Console(stderr=True)
    samples: dict[str, Sample] = {}
    with contextlib.ExitStack() as stack:
        status = stack.enter_context(console.status("starting"))
        at = stack.enter_context(target.opened(where, name, protocol, settings, dict(shapes)))
        try:
            status.update("warming up")
            loops.closed(at.address, at.request, max(concurrency or [8]), WARM_UP_SECONDS)
            if rate is not None:
                status.update(f"{rate:g}/s for {seconds:g} s")
                samples[f"{rate:g}/s"] = loops.open(at.address, at.request, rate, seconds, poisson=not constant)
            else:
                for callers in concurrency or [1, 8, 32]:
                    status.update(f"{_callers(str(callers))} for {seconds:g} s")
                    samples[str(callers)] = loops.closed(at.address, at.request, callers, seconds)
        except LoadFailed as error:
            raise RequestFailed(str(error)) from None
    summaries = {called: summary(sample) for called, sample in samples.items()}
    if output == "json":
        loads = [{"load": called, **each.as_dict()} for called, each in summaries.items()]
        click.echo(json.dumps({"model": at.name, "protocol": at.request.protocol, "loads": loads}, indent=2))
    else:
        Console(soft_wrap=True, highlight=False).print(_table(at.name, at.request.protocol, summaries))
    for words in _remarks(summaries):
        click.echo(f"trainserve: {words}", err=True)
    if plot is not None:
        _plot(f"{at.name} over {at.request.protocol}: latency by percentile", samples, plot)
    if not any(each.p50_ms or each.max_ms for each in summaries.values()):
        raise RequestFailed(
            f"no request was answered: {next(iter(summaries.values())).first_error or 'no error message'}"
        )


def _table(name: str, protocol: str, summaries: dict[str, Summary]) -> Table:
    closed = all(each.offered is None for each in summaries.values())
    table = Table(title=f"{name} over {protocol}, latencies in ms", title_justify="left")
    for heading in ("callers" if closed else "rate", "requests/s", "p50", "p90", "p99", "p99.9", "max", "errors"):
        table.add_column(heading, justify="right")
    for called, each in summaries.items():
        latencies = (each.p50_ms, each.p90_ms, each.p99_ms, each.p999_ms, each.max_ms)
        errors = each.errors + each.unanswered
        table.add_row(called, f"{each.rate:,.0f}", *map(_milliseconds, latencies), str(errors))
    return table


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if value < 100 else f"{value:.0f}"


def _remarks(summaries: dict[str, Summary]) -> list[str]:
    remarks = []
    for called, each in summaries.items():
        load_name = _callers(called) if each.offered is None else called
        if each.errors:
            remarks.append(
                f"{load_name}: {each.errors} of {each.requests} requests failed; first error: {each.first_error}"
            )
        if not each.kept_up:
            remarks.append(
                f"{load_name}: the server did not keep up: it answered {each.rate:.0f}/s, {each.waiting} requests were "
                f"waiting at the end and {each.unanswered} were never answered; latencies grow with the duration of "
                "such a load"
            )
        if each.kept_up and each.p50_ms is not None and each.lag_ms > each.p50_ms / 2:
            remarks.append(f"{load_name}: {each.lag_ms:.2g} ms of each latency are spent in the load generator itself")
    return remarks


def _callers(count: str) -> str:
    return f"{count} caller{'' if count == '1' else 's'}"


def _plot(title: str, samples: dict[str, Sample], path: Path) -> None:
    closed = all(sample.offered is None for sample in samples.values())
    series = []
    for name, sample in samples.items():
        ordered = np.sort(sample.latencies_s) * 1e3
        points = [(1 / (1 - percent / 100), percentile(ordered, percent)) for percent in PERCENTS]
        known = [(x, y) for x, y in points if y is not None]
        if known:
            series.append(Series(_callers(name) if closed else name, known, line=True))
    marks = [
        (1 / (1 - percent / 100), f"{percent:g} %") for percent in PERCENTS if percent in (50, 90, 99, 99.9, 99.99)
    ]
    reached = max((x for each in series for x, _ in each.points), default=1.0)
    ticks = [mark for mark in marks if mark[0] <= reached * 1.01]
    chart.write(Chart(title, "percent of the requests", "latency, ms", series, ticks=ticks), path)
