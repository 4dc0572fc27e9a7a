"""`trainserve models`: what the store holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from trainserve import store
from trainserve.cli.table import table


def _root(context: click.Context, parameter: click.Parameter, value: str) -> str:
    if "://" not in value and not Path(value).is_dir():
        raise click.BadParameter(f"{value!r} is neither a folder nor an fsspec URL", context, parameter)
    return value


_store = click.option(
    "--store",
    "root",
    metavar="ROOT",
    default=".dev/store",
    envvar="TRAINSERVE_STORE",
    callback=_root,
    show_default=True,
    show_envvar=True,
    help="The store's root: a folder or an fsspec URL such as s3://bucket/prefix.",
)
_namespace = click.option("-n", "--namespace", default="default", show_default=True)
_output = click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)


@click.group()
def models() -> None:
    """What the model store holds."""


@models.command("ls", epilog="Example: trainserve models ls --store .dev/store -n default")
@_store
@_namespace
@_output
def list_models(root: str, namespace: str, output: str) -> None:
    """List the models of a namespace, each with its versions and the newest one's facts."""
    rows = []
    for name in store.models(root, namespace):
        numbers = store.versions(root, namespace, name)
        rows.append({"name": name, "versions": numbers} | _facts(root, namespace, name, numbers[-1]))
    if output == "json":
        click.echo(json.dumps(rows, indent=2))
        return
    if not rows:
        click.echo(f"no models in namespace {namespace} of {root}", err=True)
        return
    header = ["NAME", "VERSIONS", "DIGEST", "ACCURACY", "BYTES", "CREATED"]
    click.echo(table(header, [[row["name"], _ranges(row["versions"]), *_cells(row)] for row in rows]))


@models.command(epilog="Example: trainserve models show digits --version 3 -o json")
@click.argument("name")
@click.option("--version", type=click.IntRange(1), help="One version, with all its manifest says. Unset: all of them.")
@_store
@_namespace
@_output
def show(name: str, version: int | None, root: str, namespace: str, output: str) -> None:
    """Show the versions of a model, or one version's manifest."""
    store.resolve(root, namespace, name, version)  # says what there is when there is no such thing
    numbers = store.versions(root, namespace, name) if version is None else [version]
    rows = [{"version": number} | _facts(root, namespace, name, number) for number in numbers]
    if version is not None:
        shown = rows[0] | {"manifest": store.manifest(root, namespace, name, version).model_dump(by_alias=True)}
        click.echo(json.dumps(shown, indent=2) if output == "json" else _described(shown))
    elif output == "json":
        click.echo(json.dumps(rows, indent=2))
    else:
        header = ["VERSION", "DIGEST", "ACCURACY", "BYTES", "CREATED"]
        click.echo(table(header, [[str(row["version"]), *_cells(row)] for row in rows]))


def _facts(root: str, namespace: str, name: str, version: int) -> dict[str, Any]:
    manifest = store.manifest(root, namespace, name, version)
    return {
        "digest": store.resolve(root, namespace, name, version).digest,
        "accuracy": manifest.metrics.accuracy,
        "bytes": sum(entry.bytes for entry in manifest.files.values()),
        "created": manifest.created,
        "uri": store.address(root, namespace, name, version),
    }


def _cells(row: dict[str, Any]) -> list[str]:
    digest = row["digest"].removeprefix("sha256:")[:12]
    return [digest, _number(row["accuracy"], ".4f"), str(row["bytes"]), row["created"]]


def _ranges(numbers: list[int]) -> str:
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]}…{numbers[-1]} ({len(numbers)})"


def _number(value: float | None, form: str) -> str:
    """`unknown` for what was not measured."""
    return "unknown" if value is None else format(value, form)


def _scores(accuracy: float | None, loss: float | None) -> str:
    return f"{_number(accuracy, '.4f')}, loss {_number(loss, '.4g')}"


def _described(shown: dict[str, Any]) -> str:
    manifest = shown["manifest"]

    def tensors(kind: str) -> str:
        return ", ".join(f"{each['name']} {each['dtype']} {each['shape']}" for each in manifest[kind])

    metrics, parity, job = manifest["metrics"], manifest["parity"], manifest["trainJob"]
    rows = {
        "model": f"{manifest['namespace']}/{manifest['model']} version {manifest['version']}",
        "uri": shown["uri"],
        "digest": shown["digest"],
        "created": manifest["created"],
        "files": ", ".join(f"{name} ({entry['bytes']} bytes)" for name, entry in manifest["files"].items()),
        "inputs": tensors("inputs"),
        "outputs": tensors("outputs"),
        "labels": ", ".join(manifest["labels"]),
        "opset": f"{manifest['opset']}, {manifest['precision']}",
        "accuracy": _scores(metrics["accuracy"], metrics["loss"]),
        "parity": f"max abs {_number(parity['maxAbs'], '.2g')}, max rel {_number(parity['maxRel'], '.2g')} on "
        f"{parity['samples']} samples",
        "trained by": f"TrainJob {job['name']}, attempt {job['attempt']}",
    }
    if metrics["exportedLoss"] is not None:
        rows["exported"] = f"accuracy {_scores(metrics['exportedAccuracy'], metrics['exportedLoss'])}"
    return "\n".join(f"{key + ':':<12} {value}" for key, value in rows.items())
