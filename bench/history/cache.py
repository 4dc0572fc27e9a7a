"""The made-up week as the data of a Prometheus, made once and kept in the cache."""

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


def data(trainjobs: int, modelserves: int, days: float) -> tuple[Path, dict[str, Any]]:
    """The folder for a Prometheus, and what is in it: `series`, `samples`, `recorded`, `seconds` to make it."""
    scale = f"{trainjobs}-{modelserves}-{days:g}"
    folder = default_cache() / "history" / scale
    made = {
        "scraped": _digest(
            [*Path(__file__).parent.glob("*.py"), API / "latency_buckets.py", *API.glob("metrics/*.py")]
        ),
        "rules": _digest(RULES.glob("*.yaml")),
    }
    note = folder / "made.json"
    told = json.loads(note.read_text()) if note.exists() else {}
    if told.get("made") == made:
        return folder / "data", told
    if told.get("made", {}).get("scraped") != made["scraped"]:
        shutil.rmtree(folder, ignore_errors=True)
    began = time.monotonic()
    clock = Clock(round(days * DAY))
    scraped = _scraped(folder / "scraped", clock, trainjobs, modelserves)
    shutil.rmtree(folder / "data", ignore_errors=True)
    blocks.linked(folder / "scraped", folder / "data")
    told = {"made": made, **scraped, **_record(folder, clock)}
    print("blocks of the same time are merged", flush=True)
    server.merge(folder / "data")
    told["seconds"] = round(time.monotonic() - began)
    note.write_text(json.dumps(told))
    return folder / "data", told


def _scraped(folder: Path, clock: Clock, trainjobs: int, modelserves: int) -> dict[str, Any]:
    note = folder.with_suffix(".json")
    if note.exists():
        return dict(json.loads(note.read_text()))
    print("scraped series become blocks", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    making = partial(blocks.cluster, trainjobs, modelserves)
    samples = blocks.write(clock, making, folder)
    told = {"series": sum(each.first < each.past for each in making(clock)), "samples": samples}
    note.write_text(json.dumps(told))
    return told


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


def _digest(paths: Iterable[Path]) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(paths))).hexdigest()[:12]
