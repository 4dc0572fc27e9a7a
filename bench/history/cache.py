"""The synthetic week as a Prometheus data folder, created once and kept in the cache."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from bench.history import blocks, recorded, server
from bench.history.clock import DAY, Clock
from trainserve.dev.binaries import default_cache
from trainserve.dev.cluster import CHART

RULES = CHART / "files" / "rules"
API = Path(__file__).parents[2] / "operator" / "trainserve" / "api"
MODULES = ("blocks", "clock", "fleet", "gpus", "operating", "series", "serving", "training")
GENERATORS = (
    *(Path(__file__).with_name(f"{name}.py") for name in MODULES),
    API / "latency_buckets.py",
    *API.glob("metrics/*.py"),
)
"""Modules on which the scraped series depend."""


def data(trainjobs: int, modelserves: int, days: float) -> tuple[Path, dict[str, Any]]:
    """Return the data folder, created if missing, and facts about it.

    These are `series`, `samples`, the recorded ones, `rules`, and the `seconds` that its creation took.
    """
    folder = default_cache() / "history" / f"{trainjobs}-{modelserves}-{days:g}"
    for left in folder.glob(".text-*"):  # left by a killed process
        shutil.rmtree(left)
    clock = Clock(round(days * DAY))
    scraped = _scraped(folder, clock, trainjobs, modelserves)
    note = folder / "data.json"
    made = _noted(note, digest([*RULES.glob("*.yaml"), note.with_name("scraped.json")]))
    if made is None:
        began = time.monotonic()
        note.unlink(missing_ok=True)
        shutil.rmtree(folder / "data", ignore_errors=True)
        blocks.linked(folder / "scraped", folder / "data")
        found = _record(folder, clock)
        print("blocks of the same time are merged", flush=True)
        server.merge(folder / "data")
        made = _note(note, digest([*RULES.glob("*.yaml"), note.with_name("scraped.json")]), began, found)
    return folder / "data", {**scraped, **made, "seconds": scraped["seconds"] + made["seconds"]}


def _scraped(folder: Path, clock: Clock, trainjobs: int, modelserves: int) -> dict[str, Any]:
    note, by = folder / "scraped.json", digest(GENERATORS)
    if (made := _noted(note, by)) is not None:
        return made
    print("scraped series become blocks", flush=True)
    began = time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    making = partial(blocks.cluster, trainjobs, modelserves)
    samples = blocks.write(clock, making, folder / "scraped")
    series = sum(each.first < each.past for each in making(clock))
    return _note(note, by, began, {"series": series, "samples": samples})


def _record(folder: Path, clock: Clock) -> dict[str, Any]:
    answers = folder / "answers.json"
    told = {"recorded series": 0, "recorded samples": 0}
    rules = recorded.read(RULES)
    for number, level in enumerate(recorded.levels(rules), 1):
        print(f"recording rules, {number}: {len(level)} of {len(rules)}", flush=True)
        with server.running(folder / "data") as prometheus:
            told["recorded series"] += recorded.ask(prometheus, level, clock, answers)
        told["recorded samples"] += blocks.write(clock, partial(recorded.series, answers), folder / "data")
    answers.unlink()
    return {**told, "rules": len(rules)}


def digest(paths: Iterable[Path]) -> str:
    """Return a digest of the files' contents."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(paths))).hexdigest()[:12]


def _noted(note: Path, by: str) -> dict[str, Any] | None:
    """Return the content of `note` if it was written for the digest `by`, else None."""
    told = dict(json.loads(note.read_text())) if note.exists() else {}
    return told if told.get("by") == by else None


def _note(note: Path, by: str, began: float, found: dict[str, Any]) -> dict[str, Any]:
    told = {"by": by, "seconds": round(time.monotonic() - began), **found}
    note.write_text(json.dumps(told))
    return told
