"""Charts of latencies as SVG or PNG: points and lines over two logarithmic axes.

matplotlib would add 60 MB to every serving image; Pillow is already there and brings a font.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol
from xml.etree import ElementTree

WIDTH, HEIGHT = 960, 560
LEFT, RIGHT, TOP, BOTTOM, ROW = 84, 24, 56, 64, 20
COLOURS = ("#1f6fb4", "#d1495b", "#2e8b57", "#b8860b", "#7b4fa3", "#4a4a4a")
INK, GRID, PAPER = "#222222", "#e3e3e3", "#ffffff"
SCALE = 2
"""Pixels of a PNG per unit, for high-density screens."""
Anchor = Literal["start", "middle", "end"]


class UnknownFormat(ValueError):
    """A file's name ends in neither .svg nor .png."""


@dataclass(frozen=True)
class Series:
    """Points (x, y), joined if `line` is set; `notes` are texts beside them, "" for none."""

    name: str
    points: Sequence[tuple[float, float]]
    line: bool = False
    notes: Sequence[str] = ()
    large: bool = False


@dataclass(frozen=True)
class Chart:
    """All points must be positive. `limit` is a horizontal line and its name; `ticks` are positions and texts for x."""

    title: str
    x: str
    y: str
    series: Sequence[Series]
    limit: tuple[float, str] | None = None
    ticks: Sequence[tuple[float, str]] = field(default=())


class _Paper(Protocol):
    def line(self, points: Sequence[tuple[float, float]], colour: str, width: float, dashed: bool = False) -> None: ...
    def dot(self, x: float, y: float, radius: float, colour: str) -> None: ...
    def text(self, x: float, y: float, words: str, colour: str, size: int, anchor: Anchor = "start") -> None: ...


def write(chart: Chart, path: Path) -> None:
    """Draw the chart into an .svg or .png file. Raises UnknownFormat, OSError."""
    check(path)
    if path.suffix.lower() == ".svg":
        svg = _Svg()
        _draw(chart, svg)
        ElementTree.ElementTree(svg.root).write(path, encoding="utf-8", xml_declaration=True)
    else:
        png = _Png()
        _draw(chart, png)
        png.image.save(path)


def check(path: Path) -> None:
    """Raise UnknownFormat unless the file's name ends in .svg or .png."""
    if path.suffix.lower() not in (".svg", ".png"):
        raise UnknownFormat(f"{path}: a plot is written as .svg or .png")


def ticks(low: float, high: float) -> list[float]:
    """Return 1, 2 and 5 times powers of ten from `low` to `high`; only powers of ten for a wide range."""
    found = [
        base * 10.0**power
        for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        for base in ((1, 2, 5) if high / low < 2000 else (1,))
    ]
    return [each for each in found if low * 0.999 <= each <= high * 1.001]


def _draw(chart: Chart, paper: _Paper) -> None:
    across = _Axis([x for series in chart.series for x, _ in series.points], LEFT, WIDTH - RIGHT)
    heights = [y for series in chart.series for _, y in series.points] + ([chart.limit[0]] if chart.limit else [])
    top = TOP + ROW * len(chart.series)
    along = _Axis(heights, HEIGHT - BOTTOM, top)
    paper.text(LEFT, 28, chart.title, INK, 17)
    for value, words in chart.ticks or [(each, f"{each:g}") for each in ticks(across.low, across.high)]:
        paper.line([(across.at(value), top), (across.at(value), HEIGHT - BOTTOM)], GRID, 1)
        paper.text(across.at(value), HEIGHT - BOTTOM + 20, words, INK, 13, "middle")
    for value in ticks(along.low, along.high):
        paper.line([(LEFT, along.at(value)), (WIDTH - RIGHT, along.at(value))], GRID, 1)
        paper.text(LEFT - 8, along.at(value) + 4, f"{value:g}", INK, 13, "end")
    paper.text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 16, chart.x, INK, 14, "middle")
    paper.text(10, top - 12, chart.y, INK, 14)
    if chart.limit:
        height = along.at(chart.limit[0])
        paper.line([(LEFT, height), (WIDTH - RIGHT, height)], INK, 1.5, dashed=True)
        paper.text(WIDTH - RIGHT, height - 6, chart.limit[1], INK, 13, "end")
    noted: list[tuple[float, float]] = []
    for number, series in enumerate(chart.series):
        colour = COLOURS[number % len(COLOURS)]
        points = [(across.at(x), along.at(y)) for x, y in series.points]
        if series.line:
            paper.line(points, colour, 2)
        for (x, y), note in zip(points, list(series.notes) or [""] * len(points), strict=True):
            paper.dot(x, y, 7 if series.large else 3 if series.line else 4.5, colour)
            right = x < WIDTH - RIGHT - 8 * len(note) - 12
            free = [at for at in (y - 7, y + 15) if not any(_overlaps((x, at), other) for other in noted)]
            if note and free:
                paper.text(x + 9 if right else x - 9, free[0], note, colour, 12, "start" if right else "end")
                noted.append((x, free[0]))
        paper.dot(LEFT + 5, TOP - 10 + ROW * number, 4.5, colour)
        paper.text(LEFT + 18, TOP - 6 + ROW * number, series.name, colour, 13)


def _overlaps(note: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether two short notes at these points would overlap."""
    return abs(note[0] - other[0]) < 48 and abs(note[1] - other[1]) < 13


class _Axis:
    """A logarithmic axis between two edges of the drawing, slightly wider than the data's range."""

    def __init__(self, values: Iterable[float], begin: float, end: float) -> None:
        found = list(values) or [1.0]
        self.low, self.high = min(found) / 1.25, max(found) * 1.25
        self._begin, self._end = begin, end

    def at(self, value: float) -> float:
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self._begin + share * (self._end - self._begin)


class _Svg:
    def __init__(self) -> None:
        self.root = ElementTree.Element(
            "svg",
            {
                "xmlns": "http://www.w3.org/2000/svg",
                "viewBox": f"0 0 {WIDTH} {HEIGHT}",
                "width": str(WIDTH),
                "height": str(HEIGHT),
                "font-family": "Helvetica, Arial, sans-serif",
            },
        )
        self._add("rect", width=WIDTH, height=HEIGHT, fill=PAPER)

    def _add(self, tag: str, words: str = "", **attributes: Any) -> None:
        given = {name.replace("_", "-"): str(value) for name, value in attributes.items()}
        ElementTree.SubElement(self.root, tag, given).text = words or None

    def line(self, points: Sequence[tuple[float, float]], colour: str, width: float, dashed: bool = False) -> None:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        dashes = {"stroke_dasharray": "7 5"} if dashed else {}
        self._add("polyline", points=path, fill="none", stroke=colour, stroke_width=width, **dashes)

    def dot(self, x: float, y: float, radius: float, colour: str) -> None:
        self._add("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=radius, fill=colour)

    def text(self, x: float, y: float, words: str, colour: str, size: int, anchor: Anchor = "start") -> None:
        if words:
            self._add("text", words, x=f"{x:.1f}", y=f"{y:.1f}", fill=colour, font_size=size, text_anchor=anchor)


class _Png:
    def __init__(self) -> None:
        from PIL import Image, ImageDraw

        self.image = Image.new("RGB", (WIDTH * SCALE, HEIGHT * SCALE), PAPER)
        self._pen = ImageDraw.Draw(self.image)

    def line(self, points: Sequence[tuple[float, float]], colour: str, width: float, dashed: bool = False) -> None:
        scaled = [(x * SCALE, y * SCALE) for x, y in points]
        if not dashed:
            self._pen.line(scaled, colour, round(width * SCALE), joint="curve")
            return
        (left, height), (right, _) = scaled
        for start in range(round(left), round(right), 12 * SCALE):
            self._pen.line([(start, height), (min(right, start + 7 * SCALE), height)], colour, round(width * SCALE))

    def dot(self, x: float, y: float, radius: float, colour: str) -> None:
        self._pen.circle((x * SCALE, y * SCALE), radius * SCALE, fill=colour)

    def text(self, x: float, y: float, words: str, colour: str, size: int, anchor: Anchor = "start") -> None:
        from PIL import ImageFont

        font = ImageFont.load_default(size * SCALE)
        at = {"start": "ls", "middle": "ms", "end": "rs"}[anchor]
        self._pen.text((x * SCALE, y * SCALE), words, colour, font, at)
