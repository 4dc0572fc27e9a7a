"""`trainserve predict`: image files or arrays to labels and probabilities."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from trainserve.cli import endpoint
from trainserve.cli.inputs import Loaded, load
from trainserve.cli.table import table
from trainserve.client import Array, BadInput, Client, ModelInfo, Protocol, TensorInfo


@click.command(epilog="Example: trainserve predict photo.png samples.npz --serve digits -n default")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option("--serve", metavar="NAME", help="A ModelServe, found with kubectl (KUBECONFIG).")
@click.option("-n", "--namespace", help="The ModelServe's namespace. Unset: kubectl's.")
@click.option("--url", help="host:port, http://host:port or grpc://host:port of a Triton server.")
@click.option("--model", "name", help="Name of the model. Unset: the only one served.")
@click.option("--protocol", type=click.Choice(["http", "grpc"]), help="Unset: as --url says, else http.")
@click.option("--timeout", type=click.FloatRange(0, min_open=True), default=30.0, show_default=True, help="Seconds.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def predict(
    files: Sequence[Path],
    serve: str | None,
    namespace: str | None,
    url: str | None,
    name: str | None,
    protocol: Protocol | None,
    timeout: float,
    output: str,
) -> None:
    """Ask a served model what it sees in FILE...

    A FILE is an image (.png, .jpg), brought to the mode and size the model takes, or an array (.npy; .npz with one
    array per input name) of one or more samples, which must have the model's shape and dtype.
    """
    if (serve is None) == (url is None):
        raise click.UsageError("give either --serve NAME or --url URL")
    if url is not None:
        if namespace is not None:
            raise click.UsageError("--namespace goes with --serve")
        address, protocol = endpoint.parse(url, protocol)
        where: contextlib.AbstractContextManager[str] = contextlib.nullcontext(address)
    else:
        assert serve is not None
        protocol = protocol or "http"
        where = endpoint.of_serve(serve, namespace, protocol)
    with where as address, Client(address, protocol, timeout) as client:
        model = client.model(_served(client, name))
        scores = _scores(model)
        loaded = [load(path, model) for path in files]
        for path, each in zip(files, loaded, strict=True):
            if each.done:
                click.echo(f"trainserve: {path}: {each.done}", err=True)
        probabilities = _ask(client, model, scores, loaded)
        labels = client.labels(model, scores, loaded[0].inputs)
    results = _results(files, loaded, probabilities, labels)
    if output == "json":
        click.echo(json.dumps(results, indent=2))
        return
    rows = [[each["file"], str(each["row"]), each["label"], f"{each['probability']:.4f}"] for each in results]
    click.echo(table(["FILE", "ROW", "LABEL", "PROBABILITY"], rows))


def _served(client: Client, name: str | None) -> str:
    names = client.models()
    if name is None and len(names) == 1:
        return names[0]
    if name not in names:
        wanted = "name one with --model" if name is None else f"not {name}"
        raise BadInput(f"{client.url} serves {', '.join(names) or 'no model'}; {wanted}")
    return name


def _scores(model: ModelInfo) -> TensorInfo:
    """The first output with one value per class."""
    for tensor in model.outputs:
        if len(tensor.shape) == 2 and tensor.shape[1] > 0:
            return tensor
    shapes = ", ".join(f"{tensor.name} {list(tensor.shape)}" for tensor in model.outputs)
    raise BadInput(f"model {model.name} gives no class probabilities of shape [n, classes]; its outputs: {shapes}")


def _ask(client: Client, model: ModelInfo, scores: TensorInfo, loaded: Sequence[Loaded]) -> Array:
    if len({tuple(array.shape[1:]) for each in loaded for array in each.inputs.values()}) > len(model.inputs):
        parts = [each.inputs for each in loaded]  # a model that takes any size: files of different sizes, one by one
    else:
        parts = [
            {tensor.name: np.concatenate([each.inputs[tensor.name] for each in loaded]) for tensor in model.inputs}
        ]
    answers = []
    for inputs in parts:
        rows = len(next(iter(inputs.values())))
        step = model.max_batch or rows
        for start in range(0, rows, step):
            batch = {key: array[start : start + step] for key, array in inputs.items()}
            answers.append(client.infer(model, batch)[scores.name])
    return np.concatenate(answers)


def _results(
    files: Sequence[Path], loaded: Sequence[Loaded], probabilities: Array, labels: Sequence[str]
) -> list[dict[str, Any]]:
    rows = [(path, row) for path, each in zip(files, loaded, strict=True) for row in range(len(each))]
    results = []
    for (path, row), values in zip(rows, probabilities, strict=True):
        best = int(values.argmax())
        results.append(
            {
                "file": str(path),
                "row": row,
                "index": best,
                "label": labels[best],
                "probability": float(values[best]),
                "probabilities": {label: float(value) for label, value in zip(labels, values, strict=True)},
            }
        )
    return results
