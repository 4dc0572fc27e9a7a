"""Text about one version of a model: the main fields of its manifest, and a line for each curve of its training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trainserve.cli.sparkline import sparkline

_LABELS = 200
"""Maximum number of characters in the line of labels."""


def described(shown: Mapping[str, Any]) -> str:
    """Describe a version in lines of text; `shown` has its `uri`, `digest` and `manifest`, as JSON."""
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
        "labels": _cut(manifest["labels"]),
        "opset": f"{manifest['opset']}, {manifest['precision']}",
        "accuracy": _scores(metrics["accuracy"], metrics["loss"]),
        "parity": f"max abs {number(parity['maxAbs'], '.2g')}, max rel {number(parity['maxRel'], '.2g')} on "
        f"{parity['samples']} samples",
        "energy": _energy(manifest["energy"]),
        "trained by": f"TrainJob {job['name']}, attempt {job['attempt']}",
    }
    if metrics["exportedLoss"] is not None:
        rows["exported"] = f"accuracy {_scores(metrics['exportedAccuracy'], metrics['exportedLoss'])}"
    lines = [f"{key + ':':<12} {value}" for key, value in rows.items()]
    curves = _curves(manifest["curves"])
    return "\n".join([*lines, *(f"{'curves:' if curve is curves[0] else '':<12} {curve}" for curve in curves)])


def number(value: float | None, form: str) -> str:
    """Format `value`, or return `unknown` for None."""
    return "unknown" if value is None else format(value, form)


def _scores(accuracy: float | None, loss: float | None) -> str:
    return f"{number(accuracy, '.4f')}, loss {number(loss, '.4g')}"


def _energy(energy: Mapping[str, Any]) -> str:
    if energy["joules"] is None:
        return f"not measured: {energy['reason']}" if energy["reason"] else "not measured"
    return f"{energy['joules']:.4g} J ({energy['source']})"


def _cut(labels: Sequence[str]) -> str:
    text = ", ".join(labels)
    return text if len(text) <= _LABELS else f"{text[:_LABELS]}… ({len(labels)})"


def _curves(curves: Mapping[str, Any] | None) -> list[str]:
    """A line for each of loss and accuracy: first value, sparkline, last value."""
    lines = []
    for name in ("loss", "accuracy"):
        column = (curves or {}).get(name) or []
        known = [value for value in column if value is not None]
        if known:
            lines.append(f"{name:<9} {known[0]:<6.4g} {sparkline(column)} {known[-1]:.4g}")
    return lines
