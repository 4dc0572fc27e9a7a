"""Builders of panels, with the settings that panels of one kind have in common."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from string import ascii_uppercase
from typing import Any

from grafana_foundation_sdk.builders import common, heatmap, prometheus, stat, table, timeseries
from grafana_foundation_sdk.models.common import (
    AxisPlacement,
    BigValueColorMode,
    BigValueGraphMode,
    BigValueTextMode,
    DataSourceRef,
    GraphThresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    LineInterpolation,
    ScaleDistribution,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import DataTransformerConfig, DynamicConfigValue, ValueMapping
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat, QueryEditorMode

from trainserve.dev.dashboards import palette, units

DATASOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
NO_GPU = "no GPU metrics"
COLOURED = DynamicConfigValue("custom.cellOptions", {"type": "color-text"})
"""A cell whose text has the colour of its value."""
BAR = DynamicConfigValue("custom.cellOptions", {"type": "gauge", "mode": "basic"})
"""A cell with a bar from 0 to 1."""
PHASE = (COLOURED, DynamicConfigValue("mappings", [palette.phase_mapping()]))
LEAST_TOP = {
    units.RATIO: 0.01,
    units.WHOLE: 1,
    units.COUNT: 1,
    units.TIMES: 1,
    units.SECONDS: 0.01,
    units.PER_SECOND: 1,
}
"""Minimum upper end of an axis, by unit: Grafana's default for values of 0 is 100, which is 10,000 % for a ratio."""
Panel = timeseries.Panel | stat.Panel | table.Panel | heatmap.Panel


@dataclass(frozen=True)
class Query:
    """One query of a panel. With `colour`, all its series have that colour and the name `legend`."""

    expr: str
    legend: str = ""
    colour: str | None = None
    dashed: bool = False
    """Whether to draw a dashed line: the query is a limit, not a measurement."""


@dataclass(frozen=True)
class Column:
    """One column of a table: the values of a label, or those of the query with index `value`."""

    title: str
    label: str = ""
    value: int | None = None
    unit: str | None = None
    decimals: int | None = None
    width: int | None = None
    properties: Sequence[DynamicConfigValue] = field(default_factory=tuple)

    def source(self, queries: int) -> str:
        """Return the column's name before renaming, in a table of `queries` queries."""
        return self.label if self.value is None else _value(self.value, queries)


def graph(
    title: str,
    description: str,
    *queries: Query,
    unit: str,
    width: int = 8,
    height: int = 8,
    low: float | None = 0,
    high: float | None = None,
    decimals: int | None = None,
    stacked: bool = False,
    logarithmic: bool = False,
    thresholds: Sequence[tuple[float, str]] = (),
    empty: str = "no data",
    colours: dict[str, str] | None = None,
) -> timeseries.Panel:
    """Build a time series panel. `thresholds` are drawn as dashed lines; `colours` maps names of series to colours."""
    panel = timeseries.Panel().title(title).id(_number(title)).description(description).datasource(DATASOURCE)
    panel.span(width).height(height).unit(unit).no_value(empty).color_scheme(palette.in_turn())
    panel.targets([_target(query, at) for at, query in enumerate(queries)])
    panel.legend(_legend()).tooltip(
        common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING)
    )
    panel.line_width(2 if not stacked else 1).fill_opacity(30 if stacked else 8).show_points(VisibilityMode.AUTO)
    panel.line_interpolation(LineInterpolation.LINEAR).span_nulls(False)
    panel.thresholds(palette.steps(palette.SUCCESS, *thresholds))
    if thresholds:
        panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED))
    if stacked:
        panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL).group("A"))
    if low is not None:
        panel.min(low)
    if high is not None:
        panel.max(high)
    elif unit in LEAST_TOP:
        panel.axis_soft_max(LEAST_TOP[unit])
    if decimals is not None:
        panel.decimals(decimals)
    if logarithmic:
        panel.scale_distribution(common.ScaleDistributionConfig().type(ScaleDistribution.LOG).log(10))
    for at, query in enumerate(queries):
        if properties := _line(query):
            panel.override_by_query(ascii_uppercase[at], properties)
    for name, colour in (colours or {}).items():
        panel.override_by_name(name, [palette.override(colour)])
    return panel


def figure(
    title: str,
    description: str,
    *queries: Query,
    unit: str,
    width: int = 4,
    height: int = 4,
    decimals: int | None = None,
    thresholds: Sequence[tuple[float, str]] = (),
    base: str = palette.NEUTRAL,
    mappings: Sequence[ValueMapping] = (),
    names: bool = False,
    both: bool = False,
    empty: str = "none",
) -> stat.Panel:
    """Build a stat panel of current values. `names` shows series' names instead; `both` or several queries, both."""
    panel = stat.Panel().title(title).id(_number(title)).description(description).datasource(DATASOURCE)
    panel.span(width).height(height).unit(unit).no_value(empty).color_scheme(palette.by_threshold())
    panel.targets([_target(query, at, instant=True) for at, query in enumerate(queries)])
    panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).fields("").values(False))
    panel.thresholds(palette.steps(base, *thresholds)).color_mode(BigValueColorMode.VALUE)
    panel.graph_mode(BigValueGraphMode.NONE)
    if names:
        panel.text_mode(BigValueTextMode.NAME)
    elif both or len(queries) > 1:
        panel.text_mode(BigValueTextMode.VALUE_AND_NAME)
    else:
        panel.text_mode(BigValueTextMode.VALUE)
    if mappings:
        panel.mappings(list(mappings))
    if decimals is not None:
        panel.decimals(decimals)
    return panel


def listing(
    title: str,
    description: str,
    *queries: str,
    columns: Sequence[Column],
    width: int = 24,
    height: int = 9,
    sort: str = "",
    descending: bool = False,
    empty: str = "none",
) -> table.Panel:
    """Build a table of current values: the queries' series, joined by their common labels."""
    panel = table.Panel().title(title).id(_number(title)).description(description).datasource(DATASOURCE)
    panel.span(width).height(height).no_value(empty)
    panel.targets([_target(Query(expr), at, instant=True, rows=True) for at, expr in enumerate(queries)])
    sources = {column.source(len(queries)): column for column in columns}
    values = [_value(at, len(queries)) for at in range(len(queries))]
    organized = {
        "excludeByName": {name: True for name in ("Time", *values) if name not in sources},
        "indexByName": {name: at for at, name in enumerate(sources)},
        "renameByName": {name: column.title for name, column in sources.items()},
    }
    if len(queries) > 1:
        panel.with_transformation(DataTransformerConfig(id_val="merge", options={}))
    panel.with_transformation(DataTransformerConfig(id_val="organize", options=organized))
    for column in columns:
        if properties := _cell(column):
            panel.override_by_name(column.title, properties)
    if sort:
        panel.sort_by([common.TableSortByFieldState().display_name(sort).desc(descending)])
    return panel


def heat(
    title: str, description: str, expr: str, *, unit: str, width: int = 12, height: int = 8, empty: str = "no data"
) -> heatmap.Panel:
    """Build a heat map of a histogram's buckets over time."""
    panel = heatmap.Panel().title(title).id(_number(title)).description(description).datasource(DATASOURCE)
    panel.span(width).height(height).unit(unit).no_value(empty)
    target = _target(Query(expr, "{{le}}"), 0).format(PromQueryFormat.HEATMAP)
    panel.targets([target]).calculate(False).show_value(VisibilityMode.NEVER).show_legend()
    panel.color(heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Blues").steps(32))
    panel.y_axis(heatmap.YAxisConfig().unit(unit).axis_placement(AxisPlacement.LEFT))
    return panel


def _value(at: int, queries: int) -> str:
    """Return Grafana's name of the column with a query's values; it has no letter if there is only one query."""
    return f"Value #{ascii_uppercase[at]}" if queries > 1 else "Value"


def _number(title: str) -> int:
    """Return an id that depends on the title only, not on the panel's position."""
    return zlib.crc32(title.encode()) % 1_000_000 + 1


def _target(query: Query, at: int, *, instant: bool = False, rows: bool = False) -> prometheus.Dataquery:
    target = prometheus.Dataquery().expr(query.expr).ref_id(ascii_uppercase[at]).datasource(DATASOURCE)
    target.editor_mode(QueryEditorMode.CODE)
    target.format(PromQueryFormat.TABLE if rows else PromQueryFormat.TIME_SERIES)
    if query.legend:
        target.legend_format(query.legend)
    return target.instant() if instant else target.range()


def _legend() -> common.VizLegendOptions:
    # The SDK hides the legend by default.
    legend = common.VizLegendOptions().show_legend(True).display_mode(LegendDisplayMode.LIST)
    return legend.placement(LegendPlacement.BOTTOM).calcs([])


def _line(query: Query) -> list[DynamicConfigValue]:
    properties = [palette.override(query.colour)] if query.colour else []
    if query.dashed:
        properties += [
            DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [10, 6]}),
            DynamicConfigValue("custom.fillOpacity", 0),
            DynamicConfigValue("custom.stacking", {"mode": "none", "group": "A"}),
        ]
    return properties


def _cell(column: Column) -> list[DynamicConfigValue]:
    label = column.value is None
    given: list[tuple[str, Any]] = [
        ("custom.filterable", label or None),
        ("noValue", None if label else "-"),
        ("unit", column.unit),
        ("decimals", column.decimals),
        ("custom.width", column.width),
    ]
    return [DynamicConfigValue(name, value) for name, value in given if value is not None] + list(column.properties)
