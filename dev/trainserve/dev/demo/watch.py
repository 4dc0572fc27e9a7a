"""Follows an object to a final state, with a line per change of its conditions and a bar for reported progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from trainserve.dev.kube import Client, Object, Refused


class DemoError(Exception):
    """A step of the demo failed; the message names it and what was observed."""


def conditions(thing: Object) -> dict[str, Object]:
    """Return an object's conditions by type."""
    return {c["type"]: c for c in thing.get("status", {}).get("conditions") or []}


def changes(before: dict[str, Object], now: dict[str, Object]) -> Iterator[str]:
    """Yield a description of each condition that is new or whose status or reason changed."""
    for name, condition in now.items():
        old = before.get(name, {})
        if (old.get("status"), old.get("reason")) != (condition["status"], condition["reason"]):
            message = f": {condition['message']}" if condition.get("message") else ""
            yield f"{name}={condition['status']} {condition['reason']}{message}"


def follow(
    console: Console,
    client: Client,
    kind: str,
    name: str,
    ended: Callable[[Object], bool],
    deadline: float,
) -> Object:
    """Print an object's changes until `ended(object)`; return the object. Raises DemoError after `deadline` seconds."""
    label = f"{kind.lower()}/{name}"
    give_up = time.monotonic() + deadline
    seen: dict[str, Object] = {}
    epoch = None
    columns = (TextColumn("  {task.description}"), BarColumn(20), TextColumn("{task.fields[note]}"))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(label, total=100, note="")
        while True:
            try:
                thing = client.get(kind, name)
            except Refused as error:
                raise DemoError(f"{label}: {error}") from error
            except ConnectionError as error:  # the API server may be restarting
                if time.monotonic() > give_up:
                    raise DemoError(f"{label}: {error}") from error
                bar.update(task, note="waiting for the API server")
                time.sleep(1)
                continue
            now = conditions(thing)
            for line in changes(seen, now):
                console.print(
                    f"  {time.strftime('%T')}  {label}  {line}", highlight=False, markup=False, soft_wrap=True
                )
            seen = now
            progress = thing.get("status", {}).get("progress") or {}
            if progress and not console.is_terminal and progress.get("epoch") != epoch:
                console.print(
                    f"  {time.strftime('%T')}  {label}  {progress.get('percent')} %  {describe(progress)}",
                    soft_wrap=True,
                )
            epoch = progress.get("epoch")
            if progress:
                short = {key: value for key, value in progress.items() if key != "loss"}  # to fit 80 columns
                bar.update(task, completed=progress.get("percent") or 0, note=describe(short))
            if ended(thing):
                return thing
            if time.monotonic() > give_up:
                raise DemoError(f"{label}: not done after {deadline:.0f} s; it says {list(changes({}, now))}")
            time.sleep(0.25)


def describe(progress: Object) -> str:
    """Return the TrainJob's progress in a few words: epoch 3/5, loss, accuracy, images per second."""
    parts = []
    if progress.get("epoch") is not None:
        parts.append(f"epoch {progress['epoch']}/{progress.get('epochs')}")
    for key, form in (("loss", "loss {:.3f}"), ("accuracy", "accuracy {:.3f}"), ("samplesPerSecond", "{:.0f} img/s")):
        if progress.get(key) is not None:
            parts.append(form.format(progress[key]))
    return "  ".join(parts)
