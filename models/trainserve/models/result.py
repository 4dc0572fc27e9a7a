"""The run's one result: the termination message, JSON under 4 KiB, to Kubernetes and as the last line of stdout."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from trainserve.models.finite import finite, no_numbers
from trainserve.models.progress import Progress
from trainserve.models.rank import Rank
from trainserve.models.telling import shortened
from trainserve.store.masking import masked

LIMIT = 4096
"""Kubernetes truncates a container's termination message beyond this many bytes."""


def success(outcome: str, progress: Progress, measured: dict[str, Any]) -> dict[str, Any]:
    """The message of a run that did what was asked: outcome Published, or Trained where no output was asked for."""
    return {"outcome": outcome, "progress": progress.figures(), "result": measured}


def failure(reason: str, text: str, progress: Progress, measured: dict[str, Any]) -> dict[str, Any]:
    """The message of a run that failed, with what it had measured by then."""
    return success("Failed", progress, measured) | {"reason": reason, "message": " ".join(text.split())}


def write(message: dict[str, Any], rank: Rank | None = None) -> None:
    """To $TRAINSERVE_TERMINATION_LOG, else /dev/termination-log where that is a file; and to stdout.

    Of several processes rank 0 has the word; another one leaves only what it failed with, where there is nothing yet.
    """
    rank = rank or Rank()
    if not rank.first and message["outcome"] != "Failed":
        return
    line = encode(message)
    path = _path()
    if path is not None:
        try:
            if rank.first or not path.is_file() or not path.stat().st_size:
                path.write_text(line)
        except OSError as error:
            print(f"cannot write the termination message to {path}: {error.strerror}", file=sys.stderr)
    if rank.first:
        print(line, flush=True)
    else:
        print(f"rank {rank.rank}: {message['reason']}: {message['message']}", file=sys.stderr)


def encode(message: dict[str, Any]) -> str:
    """One line of JSON under LIMIT bytes, without values of Secrets; a text that is too long loses its middle.

    What is no finite number is null, and the message says which figures are none.
    """
    none = ", ".join(no_numbers(message))
    message = masked(finite(message))
    if none:
        said = [text for text in (message.get("message"), f"no number, and null here: {none}") if text]
        message = {**message, "message": "; ".join(said)}
    line = json.dumps(message, allow_nan=False)
    if len(line) < LIMIT or "message" not in message:
        return line
    room = LIMIT - 1 - len(json.dumps({**message, "message": ""}))
    return json.dumps({**message, "message": shortened(message["message"], room)})


def _path() -> Path | None:
    if given := os.environ.get("TRAINSERVE_TERMINATION_LOG"):
        return Path(given)
    default = Path("/dev/termination-log")
    return default if default.is_file() else None
