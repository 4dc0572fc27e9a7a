"""The page: the texts and drawings for its template, which escapes every text.

The page stays below LIMIT bytes, whatever names a user chooses: texts and long tables are cut, with a note.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainserve import store
from trainserve.models.report import classification, curves, figures, regression
from trainserve.models.report.facts import Facts
from trainserve.models.report.words import markup, number, share, short, size

if TYPE_CHECKING:
    from jinja2 import Template

LIMIT = 1_000_000
"""Most bytes of a page."""
_SPEC = 20_000
"""Most characters of the configuration."""


class TooLarge(Exception):
    """The page would reach LIMIT bytes."""


def page(facts: Facts, now: datetime | None = None) -> bytes:
    """The content of report.html. Raises TooLarge."""
    with figures.drawing():
        text = _template().render(_context(facts, now or datetime.now(UTC)))
    content = text.encode()
    if len(content) >= LIMIT:
        raise TooLarge(f"it has {len(content)} bytes; must be fewer than {LIMIT}")
    return content


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.from_string(Path(__file__).with_name("page.html").read_text())


def _context(facts: Facts, now: datetime) -> Mapping[str, Any]:
    draft, known, tested = facts.draft, facts.known, facts.known.tested
    job, drawn = draft.train_job, curves.drawn(draft.curves, draft.metrics)
    spec = json.dumps(draft.spec, indent=2, ensure_ascii=False, sort_keys=True)
    return {
        "title": short(f"{facts.namespace}/{facts.model}: training report"),
        "name": short(f"{facts.namespace}/{facts.model}"),
        "made": f"Trained by TrainJob {short(job.name)}, attempt {job.attempt}; reported {now:%Y-%m-%d %H:%M} UTC. "
        "The version's number and all digests, this page's too, are in manifest.json beside it.",
        "tiles": _tiles(facts),
        "curves": [markup(each) for each in drawn],
        "curves_note": curves.note(draft.curves),
        "scores": _scores(draft.metrics, draft.precision),
        "tested": None if tested is None else f"{len(tested.targets):,} samples, answered by {tested.by}.",
        "classification": classification.section(tested, draft.labels)
        if tested and tested.answers.confidence is not None
        else None,
        "regression": regression.section(tested, draft.labels)
        if tested and tested.answers.confidence is None
        else None,
        "graph": _graph(facts),
        "timings": []
        if isinstance(facts.timings, str)
        else [
            {
                "batch": each.batch,
                "p50": f"{each.p50_ms:.3g} ms",
                "p99": f"{each.p99_ms:.3g} ms" if each.p99_ms is not None else f"{each.slowest_ms:.3g} ms (slowest)",
                "per_second": f"{each.per_second:,.0f}",
                "runs": each.runs,
            }
            for each in facts.timings
        ],
        "timings_note": _timings_note(facts),
        "parity": _parity(draft.parity),
        "gates": facts.gates,
        "energy": _energy(draft.energy),
        "data": _words(known.data),
        "environment": _words(facts.environment),
        "spec": spec[:_SPEC],
        "spec_cut": f"The first {_SPEC:,} of {len(spec):,} characters; manifest.json has all."
        if len(spec) > _SPEC
        else None,
        "missing": [short(each, 300) for each in known.missing],
    }


def _tiles(facts: Facts) -> list[tuple[str, str]]:
    metrics, energy = facts.draft.metrics, facts.draft.energy
    found = []
    if metrics.accuracy is not None:
        found.append(("accuracy on the test split", share(metrics.accuracy)))
    if metrics.loss is not None:
        found.append(("loss on the test split", number(metrics.loss)))
    if facts.timings and not isinstance(facts.timings, str):
        found.append(("p50 of one sample, onnxruntime", f"{facts.timings[0].p50_ms:.3g} ms"))
    if facts.bytes:
        found.append((f"graph, {facts.draft.precision}", size(facts.bytes)))
    found.append(("energy", "not measured" if energy.joules is None else f"{energy.joules:.4g} J"))
    return found


def _scores(metrics: store.Metrics, precision: str) -> list[tuple[str, str]]:
    rows = []
    for name, value, form in (
        ("accuracy", metrics.accuracy, share),
        ("loss", metrics.loss, number),
        (f"accuracy of the exported file ({precision})", metrics.exported_accuracy, share),
        (f"loss of the exported file ({precision})", metrics.exported_loss, number),
    ):
        if value is not None:
            rows.append((name, form(value)))
    return rows or [("scores", "none were measured")]


def _graph(facts: Facts) -> list[tuple[str, str]]:
    draft = facts.draft

    def tensors(kind: Sequence[store.Tensor]) -> str:
        return short(", ".join(f"{each.name} {each.dtype} {each.shape}" for each in kind), 300)

    rows = [
        ("inputs", tensors(draft.inputs)),
        ("outputs", tensors(draft.outputs)),
        ("precision", draft.precision),
        ("opset, IR version", f"{draft.opset}, {draft.ir_version}"),
    ]
    return [*rows, ("size", size(facts.bytes))] if facts.bytes else rows


def _timings_note(facts: Facts) -> str:
    if isinstance(facts.timings, str):
        return f"Not measured: {short(facts.timings, 300)}"
    if not facts.timings:
        return "Not measured."
    where = facts.environment
    return (
        f"Measured for a moment where it was trained: onnxruntime {where.get('onnxruntime', '')} on "
        f"{where.get('processor', 'the processor')}, {where.get('threads', '?')} thread(s). Servers elsewhere differ: "
        "measure them with trainserve bench."
    )


def _parity(parity: store.Parity) -> list[tuple[str, str]]:
    reference = {
        "pytorch": "PyTorch's answers",
        "script": "the answers that the script recorded",
        "none": "nothing: the script recorded no samples",
    }
    rows = [("compared with", reference[parity.reference])]
    if parity.max_abs is not None:
        rows.append(("largest difference", f"{parity.max_abs:.3g} absolute, {parity.max_rel or 0:.3g} relative"))
        rows.append(("allowed", f"{parity.atol:.3g} + {parity.rtol:.3g} × |reference|"))  # noqa: RUF001
        rows.append(("samples", f"{parity.samples:,}"))
    return rows


def _energy(energy: store.Energy) -> list[tuple[str, str]]:
    sources = {
        "nvml": "the GPUs' own counters (NVML), whole boards",
        "rapl": "the whole machine's processors and memory (RAPL), other programs included",
        "none": "none",
    }
    if energy.joules is None:
        rows = [("energy", "not measured"), ("reason", short(energy.reason or "unknown", 300))]
    else:
        rows = [
            ("energy", f"{energy.joules:.5g} J ({energy.joules / 3.6e6:.3g} kWh)"),
            ("source", sources[energy.source]),
        ]
        if energy.joules_per_epoch is not None and energy.joules_per_image is not None:
            rows.append(("per epoch, per image", f"{energy.joules_per_epoch:.4g} J, {energy.joules_per_image:.3g} J"))
        if energy.reason:
            rows.append(("note", short(energy.reason, 300)))
    if energy.cpu_joules is not None and energy.source != "rapl":
        rows.append(("processors", f"{energy.cpu_joules:.5g} J (RAPL), not part of the above"))
    if energy.grams_co2e is not None:
        rows.append(("emissions", f"{energy.grams_co2e:.3g} gCO₂e at the configured intensity of the grid"))
    return rows


def _words(given: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(name, short(value, 500)) for name, value in given.items()]
