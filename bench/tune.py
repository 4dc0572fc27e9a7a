"""Quality of tuning, on the convnet and on ResNet-50 (random weights, 224x224), on this machine.

held       each model is tuned twice, without reuse: the rate at which the choice meets the objective, compared with
           Triton's defaults (batches of 4, two instances, onnxruntime's threads) and with the naive setting (no
           batching) in the same table. A reference that was not confirmed at any rate counts with the lowest rate at
           which it failed, which favours it
again      both choices and both references measured again, in turns, on one server: p99 of the choice at the rate that
           was reported for it, judged as by the tuner (as many rounds, each of a hundred requests or more; the upper
           bound for the median of their p99), and the throughput of a closed loop, which also shows the difference
           between the two choices

The goal relative to a reference is 1, because the best settings depend on the machine: if the naive setting is the
best, as it may be for ResNet-50 on few cores, the choice can only equal it within noise.

Run with `python -m bench.tune`, or `python -m bench.tune convnet` for a part, whose figures are only printed. It takes
about ten minutes, during which the machine should be idle otherwise. Compare only figures of the same run.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from bench import zoo
from bench.report import Bar, report, versions
from trainserve.serving.devserver import runtime
from trainserve.serving.sources.servable import Servable
from trainserve.serving.sources.source import open_servable
from trainserve.serving.tune import saved, tuner
from trainserve.serving.tune.choice import Row, judged
from trainserve.serving.tune.result import Result, best_of, described, wire
from trainserve.serving.tune.rig import Here, Rig
from trainserve.serving.tune.search import ROUNDS
from trainserve.serving.tune.trial import Candidate, Load, Measurement, Objective, Trial

ALIKE = 0.1
"""Maximum relative difference of two choices that counts as noise."""


@dataclass(frozen=True)
class Task:
    """A model to tune, the duration of its tuning, and that of a load (`window`) in the second measurement; seconds."""

    model: str
    objective: Objective
    seconds: float
    window: float


TASKS = (
    Task("convnet", Objective(20.0), 110.0, 0.8),
    Task("resnet50", Objective(400.0), 130.0, 4.0),
)


def measured(task: Task) -> tuple[list[Bar], dict[str, Any]]:
    """Measure one model; return its figures and details. Raises SystemExit if no setting meets the objective."""
    model = open_servable(str(zoo.exported(task.model)))
    results = [tuner.tune(runtime.install(), model, task.objective, task.seconds) for _ in range(2)]
    rows = [result.choice for result in results]
    chosen = [row for row in rows if row is not None]
    if len(chosen) < len(rows):
        words = [result.needed.message for result in results if result.choice is None and result.needed is not None]
        raise SystemExit(f"{task.model}: {'; '.join(words)}")
    names = ("first", "second")
    references = [_reference(results[0], role).candidate for role in ("defaults", "naive")]
    candidates = [replace(row.candidate, name=name) for name, row in zip(names, chosen, strict=True)] + references
    rates = {name: _rate(row) for name, row in zip(names, chosen, strict=True)}
    again = measure_again(model, candidates, rates, _callers(chosen[0]), task.window)
    throughput = {
        each.name: median(found.rate for found in again if found.trial == _closed(each.name, chosen[0], task.window))
        for each in candidates
    }
    bars = [_ratio(task.model, results, role) for role in ("defaults", "naive")]
    for name, rate in rates.items():
        rounds = [found for found in again if found.trial.candidate == name and found.trial.load.rate == rate]
        held = judged(rounds, task.objective)
        p99 = held.p99_upper_ms if held is not None else float("inf")
        bars.append(Bar(f"{task.model}, {name} choice: rate held", rate, "req/s"))
        bars.append(Bar(f"{task.model}, {name} choice: p99 there, again", p99, "ms", task.objective.p99_ms))
    low, high = sorted(throughput[name] for name in names)
    bars.append(Bar(f"{task.model}: two choices apart, closed loop", 1 - low / high, "", ALIKE))
    for role in ("defaults", "naive"):
        ratio = throughput["first"] / throughput[role]
        bars.append(Bar(f"{task.model}: choice / {role}, closed loop again", ratio, "", 1.0 - ALIKE, "more"))
    details = {
        "objectiveMs": task.objective.p99_ms,
        "chosen": [wire(row.candidate.settings) for row in chosen],
        "tables": [[_line(row) for row in result.table] for result in results],
        "measurements": [len(result.measurements) for result in results],
        "seconds": [round(result.seconds) for result in results],
        "closedLoopAgain": {name: round(rate, 1) for name, rate in throughput.items()},
    }
    return bars, details


def measure_again(
    model: Servable, candidates: Sequence[Candidate], rates: dict[str, float], callers: int, window: float
) -> list[Measurement]:
    """Measure every candidate in each round: in a closed loop, and at its rate if it has one."""
    found = []
    with tempfile.TemporaryDirectory(prefix="trainserve-bench-") as name:
        repository = Path(name) / "repository"
        repository.mkdir()
        with Here(runtime.install(), repository, Path(name) / "log") as server:
            rig = Rig(server, repository, model, candidates)
            for _ in range(ROUNDS):
                for each in candidates:
                    found.append(rig.measure(Trial(each.name, "halve", Load(window, callers=callers))))
                    if each.name in rates:
                        found.append(rig.measure(Trial(each.name, "confirm", Load(window, rate=rates[each.name]))))
    return found


def _closed(name: str, row: Row, window: float) -> Trial:
    return Trial(name, "halve", Load(window, callers=_callers(row)))


def _callers(row: Row) -> int:
    return (row.closed.load.callers if row.closed is not None else None) or 1


def _rate(row: Row) -> float:
    assert row.held is not None
    return row.held.load.rate or row.held.rate


def _reference(result: Result, role: str) -> Row:
    row = best_of(result.table, role)
    if row is None or row.held is None:
        raise SystemExit(f"{result.subject.model}: {role} gave no figure: {row.failure if row else 'not measured'}")
    return row


def _ratio(model: str, results: Sequence[Result], role: str) -> Bar:
    """Return the smaller one of the two tunings' ratios."""
    ratios = [_rate(result.choice) / _rate(_reference(result, role)) for result in results if result.choice is not None]
    return Bar(f"{model}: choice / {role}, rate held", min(ratios), "", 1.0, "more")


def _line(row: Row) -> dict[str, Any]:
    line: dict[str, Any] = {"name": row.candidate.name, "settings": described(row.candidate.settings)}
    if row.closed is not None:
        line |= {"closedRate": round(row.closed.rate, 1), "closedP99Ms": round(row.closed.p99_ms, 2)}
    if row.held is not None:
        line |= {"rate": round(_rate(row), 1), "p99UpperMs": round(row.held.p99_upper_ms, 2), "holds": row.held.holds}
    return line


def main() -> bool:
    """Measure, print and write; return whether every goal is reached."""
    wanted = sys.argv[1:] or [task.model for task in TASKS]
    bars: list[Bar] = []
    details: dict[str, Any] = {}
    for task in TASKS:
        if task.model in wanted:
            found, details[task.model] = measured(task)
            bars += found
    used = versions("numpy", "onnx", "torch")
    used["server"] = saved.server()
    whole = len(wanted) == len(TASKS)
    return report("tune", bars, {"tunings": 2, "roundsAgain": ROUNDS}, used, write=whole, models=details)


if __name__ == "__main__":
    sys.exit(not main())
