"""`trainserve top`: a live view of TrainJobs and ModelServes, from the API server and the pods' own metrics."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import sys
from collections.abc import Coroutine
from typing import Any

import click
from rich.console import Console, Group

from trainserve.cli import endpoint
from trainserve.cli.top.rows import SORTS

_BETWEEN_SECONDS = 1.0
"""Time between the two snapshots of `--once`, from which rates are computed."""
_ENDLESS = 1000
"""Width, in columns, of an output that has none."""


def _seconds(context: click.Context, parameter: click.Parameter, value: float) -> float:
    if not math.isfinite(value):
        raise click.BadParameter(f"{value!r} is not a number of seconds", context, parameter)
    return value


@click.command(epilog="Example: trainserve top -A --sort rate")
@click.option("-n", "--namespace", help="Namespace to show (default: that of kubectl's current context).")
@click.option("-A", "--all-namespaces", "everywhere", is_flag=True, help="Show all namespaces.")
@click.option(
    "--sort",
    type=click.Choice(SORTS),
    default="phase",
    show_default=True,
    metavar="COLUMN",
    help=f"Column to sort by: {', '.join(SORTS)}.",
)
@click.option(
    "--interval", type=click.FloatRange(0.5, 3600), callback=_seconds, default=2.0, show_default=True,
    metavar="SECONDS", help="Time between two updates.",
)  # fmt: skip
@click.option("--once", is_flag=True, help="Print the tables once and exit, as is done without a terminal.")
def top(namespace: str | None, everywhere: bool, sort: str, interval: float, once: bool) -> None:
    """Watch TrainJobs and ModelServes live.

    The tables show the progress, throughput and latency of each, and why it waits or failed. They are read from the API
    server with kubectl's credentials, and through it from the pods; Prometheus is not needed. Your account needs
    permission to get and list trainjobs, modelserves and pods, and to get pods/proxy. Keys: q quits, s sorts by the
    next column.
    """
    if namespace is not None and everywhere:
        raise click.UsageError("give either --namespace or --all-namespaces")
    if namespace is not None:
        endpoint.named("--namespace", namespace)
    live = not once and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    _run_until_signal(_watch(namespace, everywhere, sort, interval) if live else _print(namespace, everywhere, sort))


async def _watch(namespace: str | None, everywhere: bool, sort: str, interval: float) -> None:
    # Imported here, because every other command would pay for aiohttp.
    from trainserve.cli.top import cluster, terminal, watcher

    async with cluster.opened() as api:
        looking = watcher.Watcher(api, None if everywhere else namespace or api.namespace)
        await terminal.Terminal(looking, sort, interval, Console()).watch()


async def _print(namespace: str | None, everywhere: bool, sort: str) -> None:
    from trainserve.cli.top import cluster, view, watcher

    async with cluster.opened() as api:
        looking = watcher.Watcher(api, None if everywhere else namespace or api.namespace)
        snapshot = await looking.look()
        if looking.counting:
            await asyncio.sleep(_BETWEEN_SECONDS)
            snapshot = await looking.look()
    console = Console(width=None if sys.stdout.isatty() or os.environ.get("COLUMNS") else _ENDLESS)
    with console.capture() as printed:
        console.print(Group(*view.page(snapshot, sort, console.width)))
    click.echo("\n".join(line.rstrip() for line in printed.get().splitlines()))


def _run_until_signal(work: Coroutine[Any, Any, None]) -> None:
    """Run `work`; SIGTERM and SIGHUP cancel it as Ctrl-C does, so that no process that it started outlives it."""
    received: list[int] = []

    async def run() -> None:
        task = asyncio.current_task()
        assert task is not None
        for number in (signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, _end, task, number, received)
        await work

    try:
        asyncio.run(run())
    except asyncio.CancelledError:
        raise click.exceptions.Exit(128 + received[0]) from None


def _end(task: asyncio.Task[Any], number: int, received: list[int]) -> None:
    received.append(number)
    task.cancel()
