"""Markdown from definitions of metrics. Pure, except that it reads the template."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path

from trainserve.api import metrics
from trainserve.api.metrics import triton
from trainserve.api.metrics.definition import Group, Metric

PATH = Path(__file__).parents[4] / "docs" / "metrics.md"
TEMPLATE = Path(__file__).with_name("template.md")
WIDTH = 120
_PLACES = {"{{ Triton's metrics }}": triton.GROUPS, "{{ our metrics }}": metrics.GROUPS}


def page() -> str:
    """Return the whole of docs/metrics.md."""
    text = TEMPLATE.read_text()
    for place, groups in _PLACES.items():
        text = text.replace(place, "\n\n".join(section(group) for group in groups))
    return text


def section(group: Group) -> str:
    """Return the group's heading, the text about all of its metrics, and an entry for each metric."""
    lines = [f"## {group.title}", "", *_wrapped(group.text), ""]
    return "\n".join([*lines, *(line for metric in group.metrics for line in entry(metric))])


def entry(metric: Metric) -> Iterator[str]:
    """Yield the lines of a list item in three paragraphs: name and kind, meaning, use."""
    for text, indent, end in (
        (f"`{metric.name}` · *{', '.join(_facts(metric))}*", "- ", "\\"),
        (metric.help, "  ", "\\"),
        (metric.use.replace("Trap:", "**Trap:**"), "  ", ""),
    ):
        *lines, last = _wrapped(text, indent)
        yield from lines
        yield last + end


def _facts(metric: Metric) -> Iterator[str]:
    yield metric.kind
    if metric.unit:
        yield metric.unit
    if metric.labels:
        yield f"by {_listed(metric.labels)}"
    if metric.only:
        yield f"{metric.only} only"
    if metric.since:
        yield f"since {metric.since}"


def _listed(labels: Iterable[str]) -> str:
    *others, last = [f"`{label}`" for label in labels]
    return f"{', '.join(others)} and {last}" if others else last


def _wrapped(text: str, indent: str = "") -> list[str]:
    """Wrap to one column less than WIDTH, to leave room for the backslash that ends a line of Markdown."""
    hanging = " " * len(indent)
    return textwrap.wrap(
        text,
        WIDTH - 1,
        initial_indent=indent,
        subsequent_indent=hanging,
        break_long_words=False,
        break_on_hyphens=False,
    )
