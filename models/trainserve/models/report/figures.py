"""The report's drawings as inline SVG, with the page's colours for ink and grid, so that both themes work.

matplotlib without pyplot: the only global state changed, temporarily, is its settings. Drawings hold no text of users.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from trainserve.models.report.scores import Bin

COLOURS = ("#3b82c4", "#e07a3f", "#4c9f70", "#a06cc0")
"""Readable on white and on near-black."""
_INK, _GRID = "#0a0b0c", "#0d0e0f"
"""Placeholders, replaced by the page's colours."""
_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "trainserve",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "text.parse_math": False,
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "grid.color": _GRID,
    "grid.linewidth": 0.6,
    "text.color": _INK,
    "xtick.color": _GRID,
    "ytick.color": _GRID,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 8,
}
_FEW = 40
"""Most points of a curve with markers."""


@dataclass(frozen=True)
class Line:
    """A curve; None in `y` is a gap."""

    name: str
    x: Sequence[float]
    y: Sequence[float | None]


def load() -> None:
    """Import matplotlib, which is slow, without its warnings and without writing to a home directory."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    if "matplotlib.font_manager" in sys.modules:
        return
    given = os.environ.get("MPLCONFIGDIR")
    with tempfile.TemporaryDirectory(prefix="trainserve-matplotlib-") as folder:
        os.environ["MPLCONFIGDIR"] = given or folder
        try:
            import matplotlib.backends.backend_svg
            import matplotlib.figure  # noqa: F401
        finally:
            if given is None:
                del os.environ["MPLCONFIGDIR"]


@contextlib.contextmanager
def drawing() -> Iterator[None]:
    """Inside, figures have the report's style, whatever the process has set, and warnings are silenced."""
    load()
    import matplotlib

    plain = {name: value for name, value in matplotlib.rcParamsDefault.items() if not name.startswith("backend")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with matplotlib.rc_context({**plain, **_SETTINGS}):
            yield


def lines(
    name: str, drawn: Sequence[Line], x: str, mark: tuple[float, float, str] | None = None, from_zero: bool = False
) -> str:
    """Curves on common axes; `x`: label of the x axis; `mark`: a single point (x, y, name)."""
    figure, axes = _figure(3.6, 2.4, (0.14, 0.17, 0.83, 0.73))
    for line, colour in zip(drawn, COLOURS, strict=False):
        values = [np.nan if value is None else value for value in line.y]
        dots = "o" if len(values) <= _FEW else None
        axes.plot(line.x, values, color=colour, linewidth=1.6, marker=dots, markersize=3, label=line.name)
    if mark is not None:
        axes.plot(mark[:1], mark[1:2], "D", color=COLOURS[1], markersize=5, label=mark[2], clip_on=False)
    axes.set_xlabel(x)
    axes.set_title(name, loc="left", fontsize=9.5)
    axes.yaxis.set_major_formatter("{x:g}")
    if from_zero:
        axes.set_ylim(0, 1.06 * axes.dataLim.ymax)
    if len(drawn) + (mark is not None) > 1:
        axes.legend(loc="best")
    return _svg(figure, name)


def reliability(bins: Sequence[Bin]) -> str:
    """A reliability diagram: accuracy by confidence, and the number of answers by confidence."""
    name = "accuracy of answers by their confidence"
    figure, axes = _figure(5, 4.2, (0.11, 0.34, 0.86, 0.63))
    lows, width = [each.low for each in bins], 1 / 10
    axes.bar(lows, [each.accuracy for each in bins], width, align="edge", color=COLOURS[0], edgecolor=_GRID)
    axes.plot([0, 1], [0, 1], "--", color=_INK, linewidth=1)
    axes.plot([each.confidence for each in bins], [each.accuracy for each in bins], "o", color=COLOURS[1], markersize=4)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="accuracy")
    below = figure.add_axes((0.11, 0.11, 0.86, 0.16))
    below.bar(lows, [each.count for each in bins], width, align="edge", color=COLOURS[0], edgecolor=_GRID)
    below.set(xlim=(0, 1), xlabel="confidence", ylabel="answers")
    return _svg(figure, name)


def heat(shares: NDArray[Any]) -> str:
    """A confusion matrix of `shares`, 0 to 1, drawn as opacity."""
    name = "confusion matrix"
    figure, axes = _figure(5, 5, (0.1, 0.09, 0.88, 0.88))
    cells = np.empty((*shares.shape, 4))
    cells[..., :3] = np.array([0x3B, 0x82, 0xC4]) / 255
    cells[..., 3] = np.sqrt(shares)  # keeps rare confusions visible
    axes.imshow(cells, interpolation="nearest")
    axes.set(xlabel="answered, number of the class", ylabel="truth")
    axes.grid(False)
    return _svg(figure, name)


def scatter(truth: NDArray[Any], given: NDArray[Any]) -> str:
    """A scatter plot of predicted over true values, with the diagonal of perfect predictions."""
    figure, axes = _figure(3.2, 2.8, (0.17, 0.15, 0.8, 0.8))
    axes.plot(truth, given, "o", color=COLOURS[0], markersize=2.5, alpha=0.6, markeredgewidth=0)
    ends = [min(truth.min(), given.min()), max(truth.max(), given.max())]
    axes.plot(ends, ends, "--", color=_INK, linewidth=1)
    axes.set(xlabel="true", ylabel="answered")
    return _svg(figure, "answered over true values")


def histogram(differences: NDArray[Any]) -> str:
    """A histogram of residuals."""
    figure, axes = _figure(3.2, 2.8, (0.17, 0.15, 0.8, 0.8))
    axes.hist(differences, bins=30, color=COLOURS[0], edgecolor=_GRID, linewidth=0.4)
    axes.axvline(0, color=_INK, linewidth=1, linestyle="--")
    axes.set(xlabel="answered - true", ylabel="samples")
    return _svg(figure, "histogram of residuals")


def _figure(width: float, height: float, at: tuple[float, float, float, float]) -> tuple[Figure, Axes]:
    """A figure of `width` x `height` inches with axes at the fixed position `at`: automatic layout would be slow."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    FigureCanvasSVG(figure)
    return figure, figure.add_axes(at)


def _svg(figure: Figure, name: str) -> str:
    """The <svg> element of a figure, with `name` as its accessible label."""
    out = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(out, format="svg", transparent=True, metadata=nothing)
    text = out.getvalue()
    text = text[text.index("<svg") :].replace(_INK, "currentColor").replace(_GRID, "var(--grid)")
    text = text.replace("'DejaVu Sans'", "system-ui, 'DejaVu Sans'")
    return text.replace("<svg ", f'<svg role="img" aria-label="{name}" ', 1)
