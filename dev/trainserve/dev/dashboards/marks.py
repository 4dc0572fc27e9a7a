"""Marks on the time axis, from series whose value is a time."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import prometheus

from trainserve.dev.dashboards.panels import DATASOURCE


def mark(name: str, expr: str, text: str, *, colour: str, tags: str = "") -> builders.AnnotationQuery:
    """Return an annotation with one mark for each series of `expr`, at the Unix time in seconds that is its value."""
    # Grafana expects milliseconds.
    target = prometheus.Dataquery().expr(f"{expr} * 1000").ref_id("Anno").datasource(DATASOURCE)
    marks = builders.AnnotationQuery().name(name).datasource(DATASOURCE).enable(True).icon_color(colour)
    marks.target(target).use_value_for_time(True).title_format(name).text_format(text)
    return marks.tag_keys(tags) if tags else marks
