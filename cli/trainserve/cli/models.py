"""`trainserve models`: list and show the models in the store."""

from __future__ import annotations

import contextlib
import json
import secrets
from pathlib import Path
from typing import Any

import click

from trainserve import store
from trainserve.cli.table import table
from trainserve.cli.version import described, number
from trainserve.store import names as versions


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
    help="Root of the store: a folder or an fsspec URL such as s3://bucket/prefix.",
)
_namespace = click.option(
    "-n", "--namespace", default="default", show_default=True, help="Namespace of the models in the store."
)
_output = click.option(
    "-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True, help="Output format."
)


@click.group()
def models() -> None:
    """List and show the models in the store."""


@models.command("ls", epilog="Example: trainserve models ls --store .dev/store -n default")
@_store
@_namespace
@_output
def list_models(root: str, namespace: str, output: str) -> None:
    """List the models of a namespace.

    Digest, accuracy, size and time are those of a model's newest version.
    """
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


@models.command(epilog="Example: trainserve models show digits/3 --report digits-3.html")
@click.argument("name", metavar="NAME[/VERSION]")
@click.option("--version", type=click.IntRange(1), help="Same as /VERSION (default: list all versions).")
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the training report of the version (default: the newest) to FILE, as HTML, after checking its digest.",
)
@_store
@_namespace
@_output
def show(name: str, version: int | None, report: Path | None, root: str, namespace: str, output: str) -> None:
    """Show the versions of a model, or one version.

    For one version, the main fields of its manifest and the curves of its training are shown.
    """
    name, version = _named(name, version)
    found = store.resolve(root, namespace, name, version)  # raises an error that lists what exists
    if report is not None:
        version = found.version
        _write_report(root, namespace, name, version, report)
    numbers = store.versions(root, namespace, name) if version is None else [version]
    rows = [{"version": number} | _facts(root, namespace, name, number) for number in numbers]
    if version is not None:
        shown = rows[0] | {"manifest": store.manifest(root, namespace, name, version).model_dump(by_alias=True)}
        click.echo(json.dumps(shown, indent=2) if output == "json" else described(shown))
    elif output == "json":
        click.echo(json.dumps(rows, indent=2))
    else:
        header = ["VERSION", "DIGEST", "ACCURACY", "BYTES", "CREATED"]
        click.echo(table(header, [[str(row["version"]), *_cells(row)] for row in rows]))


def _named(name: str, version: int | None) -> tuple[str, int | None]:
    """Split NAME[/VERSION]. Raises UsageError if VERSION is invalid or differs from `version`, the option."""
    whole, (name, slash, text) = name, name.partition("/")
    if not slash or not versions.is_label(name):  # the store refuses it, and says why
        return whole, version
    given = versions.version(text)
    if given is None:
        raise click.UsageError(f"{name}/{text}: {text!r} is not a version; must be a number from 1 to 999999999")
    if version not in (None, given):
        raise click.UsageError(f"{name}/{text} and --version {version} name two versions; give one of them")
    return name, given


def _write_report(root: str, namespace: str, name: str, version: int, path: Path) -> None:
    """Write the report of a version to `path`, atomically."""
    content = store.content(root, namespace, name, version, store.REPORT)
    if content is None:
        raise click.ClickException(
            f"model {name}: version {version} has no {store.REPORT}: it was published by an earlier release, or making "
            "the report failed (the log of its training says why)"
        )
    unfinished = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise click.ClickException(f"cannot write {path}: {error.strerror}") from None
    click.echo(f"report: {path} ({len(content)} bytes)", err=True)


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
    return [digest, number(row["accuracy"], ".4f"), str(row["bytes"]), row["created"]]


def _ranges(numbers: list[int]) -> str:
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]}…{numbers[-1]} ({len(numbers)})"
