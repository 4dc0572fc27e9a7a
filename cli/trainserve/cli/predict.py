"""`trainserve predict`: predict labels with their probabilities or scores, or values, of images and arrays."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TextIO

import click
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from trainserve.cli import answers, endpoint
from trainserve.cli.batches import Batch, gather
from trainserve.cli.inputs import STDIN, Loaded, expand, load
from trainserve.client import BadInput, Client, ModelInfo, Predictions, Protocol, RequestFailed

IN_FLIGHT = 4
"""Number of requests in flight while the next files are read."""
REGRESSION = "values"
"""Name of a regression's output (docs/contracts.md, Store layout and addresses)."""
MANY = 10
"""Number of files from which a terminal shows a progress bar."""


@click.command(
    epilog="Example: trainserve predict photos/ samples.npz --serve digits -n default --top 3 -o csv > seen.csv"
)
@click.argument("files", nargs=-1, metavar="FILE...")
@click.option(
    "--from-file",
    "listing",
    type=click.File(),
    metavar="LIST",
    help="File with more FILE names, one per line; - is standard input.",
)
@click.option("--serve", metavar="NAME", help="ModelServe to ask, found with kubectl (KUBECONFIG).")
@click.option("-n", "--namespace", help="Namespace of the ModelServe (default: that of kubectl's current context).")
@click.option(
    "--url",
    "urls",
    metavar="ADDRESS",
    multiple=True,
    help="Server to ask instead: host:port, http(s)://host:port or grpc(s)://host:port. Repeat it to share the requests"
    " among several.",
)
@click.option("--model", "name", help="Name of the model (default: the only one served).")
@click.option(
    "--protocol",
    type=click.Choice(["http", "grpc"]),
    help="Protocol of the requests (default: that of --url, else http).",
)
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(0, min_open=True),
    default=30.0,
    show_default=True,
    help="Timeout of each request, retries included.",
)
@click.option(
    "--batch",
    metavar="N",
    type=click.IntRange(1),
    help="Maximum number of rows in a request (default: as many as the model takes).",
)
@click.option(
    "--top",
    metavar="K",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Number of labels to print for each row, most likely first.",
)
@click.option(
    "-o",
    "--output",
    "form",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
    help="Output format.",
)
def predict(
    files: Sequence[str],
    listing: TextIO | None,
    serve: str | None,
    namespace: str | None,
    urls: Sequence[str],
    name: str | None,
    protocol: Protocol | None,
    timeout: float,
    batch: int | None,
    top: int,
    form: answers.Format,
) -> None:
    """Predict the classes or values of files with a served model.

    FILE is an image, which is converted to the colour mode and size that the model takes; an array of one or more
    samples in the model's shape and dtype (.npy, or .npz with one array per input name); a folder, which stands for
    all images in it and below it, sorted; or -, an image or array on standard input.

    A FILE that cannot be read is reported on standard error, and the others are predicted. Exit status: 0 if all FILEs
    were predicted, 1 if some were not, 2 if there was nothing to predict: wrong usage, or no readable FILE.
    """
    names = list(files) + [line for line in (each.rstrip("\r\n") for each in listing or ()) if line]
    if not names:
        raise click.UsageError("Missing argument 'FILE...'.")
    if names.count(STDIN) > 1 or (STDIN in names and listing is not None and listing.name == "<stdin>"):
        raise click.UsageError("standard input can be read only once, and - is given twice")
    where, protocol = _where(serve, namespace, urls, protocol)
    with where as addresses, Client(addresses, protocol, timeout) as client:
        model = client.model(_served(client, name))
        regression = model.scores().name == REGRESSION
        if regression and top > 1:
            raise click.UsageError(f"--top applies to classes only; model {model.name} predicts values")
        reading = Reading(list(expand(names)), model)
        limit = _limit(model)
        asked = _ask(client, model.name, gather(reading.files(), min(batch, limit) if batch and limit else limit))
        seen: list[tuple[Batch, Predictions]] = []
        failure: RequestFailed | None = None
        try:
            with _progress(len(reading.names)) as advance, contextlib.closing(asked):
                for each, predictions in asked:
                    seen.append((each, predictions))
                    advance(reading.done)
        except RequestFailed as error:
            failure = error  # the predictions up to here are printed all the same
    if seen:
        click.echo(_estimated(seen, form) if regression else _seen(seen, top, form))
    reading.tell()
    if failure:
        raise failure
    if reading.bad:
        click.get_current_context().exit(1 if seen else 2)


@dataclass
class Reading:
    """Files that are read one after another; counts those `done` and `bad`, and lists the images `changed`, and how."""

    names: list[str]
    model: ModelInfo
    done: int = 0
    bad: int = 0
    changed: list[tuple[str, str]] = field(default_factory=list)

    def files(self) -> Iterator[tuple[str, Loaded]]:
        """Yield each readable file with its content; the others are reported on standard error at once."""
        for name in self.names:
            try:
                loaded = load(name, self.model)
            except BadInput as error:
                self.bad += 1
                click.echo(f"trainserve: {' '.join(str(error).split())}", err=True)
            else:
                if loaded.done:
                    self.changed.append((name, loaded.done))
                yield name, loaded
            self.done += 1

    def tell(self) -> None:
        """Print a summary of converted and unreadable files to standard error."""
        if self.changed:
            name, done = self.changed[0]
            more = len(self.changed) - 1
            others = f"; {more} more converted to what the model takes" if more else ""
            click.echo(f"trainserve: {name}: {done}{others}", err=True)
        if self.bad and len(self.names) > 1:
            click.echo(f"trainserve: {self.bad} of {len(self.names)} files could not be read", err=True)


def _where(
    serve: str | None, namespace: str | None, urls: Sequence[str], protocol: Protocol | None
) -> tuple[contextlib.AbstractContextManager[str | Sequence[str]], Protocol | None]:
    if (serve is None) == (not urls):
        raise click.UsageError("give either --serve NAME or --url ADDRESS")
    if serve is not None:
        return endpoint.of_serve(serve, namespace, protocol or "http"), protocol
    if namespace is not None:
        raise click.UsageError("--namespace requires --serve")
    return contextlib.nullcontext(urls), protocol


def _served(client: Client, name: str | None) -> str:
    names = client.models()
    if name is None and len(names) == 1:
        return names[0]
    if name not in names:
        wanted = "name one with --model" if name is None else f"not {name}"
        raise BadInput(f"{client.url} serves {', '.join(names) or 'no model'}; {wanted}")
    return name


def _limit(model: ModelInfo) -> int | None:
    """Maximum rows in a request; None for a model without a batch axis, which gets a request per file."""
    return model.max_batch or max(0, model.inputs[0].shape[0]) or None


def _ask(client: Client, model: str, batches: Iterable[Batch]) -> Generator[tuple[Batch, Predictions], None, None]:
    """Yield each batch with its predictions, in order; IN_FLIGHT requests run while the next batch is read."""
    waiting: deque[tuple[Batch, Future[Predictions]]] = deque()
    pool = ThreadPoolExecutor(IN_FLIGHT)
    try:
        for batch in batches:
            waiting.append((batch, pool.submit(client.predict, model, batch.inputs)))
            if len(waiting) == IN_FLIGHT:
                first, future = waiting.popleft()
                yield first, future.result()
        for first, future in waiting:
            yield first, future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


@contextlib.contextmanager
def _progress(files: int) -> Iterator[Callable[[int], None]]:
    """Yield the update function of a progress bar, shown if standard error is a terminal and there are MANY files."""
    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("files"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=files < MANY or not console.is_terminal) as bar:
        task = bar.add_task("", total=files)
        yield lambda done: bar.update(task, completed=done)


def _seen(batches: Sequence[tuple[Batch, Predictions]], top: int, form: answers.Format) -> str:
    shares = all(_are_shares(predictions.probabilities) for _, predictions in batches)
    return answers.of_classes(
        [
            answers.Seen(name, row, classes)
            for batch, predictions in batches
            for (name, row), classes in zip(batch.rows, predictions.top(top), strict=True)
        ],
        form,
        "probability" if shares else "score",
    )


def _are_shares(rows: np.ndarray[Any, Any]) -> bool:
    """Whether every row is non-negative and sums to 1, within the precision of fp16 and int8."""
    return bool((rows >= 0).all() and np.allclose(rows.sum(axis=-1), 1, atol=0.01))


def _estimated(batches: Iterable[tuple[Batch, Predictions]], form: answers.Format) -> str:
    return answers.of_values(
        [
            answers.Estimated(name, row, list(zip(predictions.labels, map(float, values), strict=True)))
            for batch, predictions in batches
            for (name, row), values in zip(batch.rows, predictions.probabilities, strict=True)
        ],
        form,
    )
