"""Saved tuning results; the file name depends on the model, the hardware, the server and the objective."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trainserve.files import durable
from trainserve.serving.devserver import compiled, runtime
from trainserve.serving.tune.result import FORMAT, Result, Subject
from trainserve.serving.tune.trial import Objective

FOLDER = runtime.CACHE / "tune"


def hardware() -> dict[str, Any]:
    """Return the processor's model and the number of cores that this process may use."""
    return {"cpu": _cpu(), "cores": cores()}


def cores() -> int:
    """Count the cores that this process may use, by its affinity and its cgroup's quota."""
    allowed = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(allowed, int(quota) // int(period)))
    except (OSError, ValueError):
        return allowed


def server() -> str:
    """Return the release of the measured server."""
    return " ".join((runtime.SERVER, *(each for each in runtime.PACKAGES if each.startswith("onnxruntime"))))


def path(folder: Path, subject: Subject, objective: Objective, others: Any) -> Path:
    """Return the file for the result of tuning `subject` for `objective`; `others` are further parameters, for JSON."""
    question = [FORMAT, compiled.sources(), asdict(subject), asdict(objective), others]
    key = hashlib.sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()
    return folder.expanduser() / subject.digest.removeprefix("sha256:")[:16] / f"{key[:16]}.json"


def find(path: Path) -> Result | None:
    """Read the result at `path`; None if it is missing or unreadable."""
    try:
        return Result.of_dict(json.loads(path.read_text()))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def keep(result: Result, path: Path) -> None:
    """Write the result atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    durable.write(path, f"{json.dumps(result.as_dict(), indent=1)}\n".encode())


def _cpu() -> str:
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return found[1].strip() if found else os.uname().machine
