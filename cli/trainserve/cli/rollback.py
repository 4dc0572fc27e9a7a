"""`trainserve rollback`: return a ModelServe to an earlier version of its model, and keep it there."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import click

from trainserve.cli import endpoint
from trainserve.client import BadInput, RequestFailed

KIND = "modelserves.trainserve.io"


@click.command(epilog="Example: trainserve rollback digits --to 3")
@click.argument("name", metavar="MODELSERVE")
@click.option(
    "--to",
    type=click.IntRange(1),
    metavar="VERSION",
    help="Version to return to (default: the one that took traffic before).",
)
@click.option("-n", "--namespace", help="Namespace of the ModelServe (default: that of kubectl's current context).")
def rollback(name: str, to: int | None, namespace: str | None) -> None:
    """Return a ModelServe to an earlier version of its model.

    MODELSERVE stays at that version until its spec.model.version, which this command sets, is changed again. The
    version is verified before it takes traffic. Your account needs permission to get and patch modelserves.
    """
    endpoint.named("MODELSERVE", name)
    if namespace is not None:
        endpoint.named("--namespace", namespace)
    where = ["--namespace", namespace] if namespace else []
    model, version = target(endpoint.get(KIND, name, where), to)
    change = json.dumps({"spec": {"model": {"version": version}}})
    command = [endpoint.kubectl(), "patch", KIND, *where, "--type=merge", "--patch", change, "--", name]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode:
        words = finished.stderr.strip().splitlines() or [f"exit status {finished.returncode}"]
        raise RequestFailed(f"kubectl patch {KIND} {name}: {words[-1]}")
    follow = json.dumps({"spec": {"model": {"version": None}}})
    click.echo(f"ModelServe {name}: set to version {version} of model {model}")
    click.echo(f"to follow the newest version again: kubectl patch {KIND} {name} --type=merge --patch '{follow}'")


def target(serve: dict[str, Any], to: int | None) -> tuple[str, int]:
    """The name of the model that `serve` follows, and the version to return to. Raises BadInput.

    Without `to`, that is the version that takes traffic while the rollout of another is unfinished, else the version
    that took traffic before.
    """
    model, status = serve["spec"]["model"].get("name"), serve.get("status") or {}
    if model is None:
        raise BadInput("spec.model.name is not set: spec.model is one fixed version; change spec.model itself")
    if to is not None:
        return str(model), to
    conditions = {each["type"]: each for each in status.get("conditions") or []}
    serving, arrived = status.get("version"), conditions.get("Progressing", {}).get("reason") == "UpToDate"
    if serving is not None and not arrived:
        return str(model), int(serving)
    numbers = [each.get("version") for each in status.get("history") or []]
    before = [number for number in numbers if number not in (None, serving)]
    if not before:
        raise BadInput("status.history has no other version; choose one with --to")
    return str(model), int(before[-1])
