"""Formatting of numbers and texts on the page. Pure."""

from __future__ import annotations

from typing import Any

LABEL = 60
"""Most characters of a label."""


def short(text: str, most: int = LABEL) -> str:
    """`text` on one line, cut to `most` characters with an ellipsis."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def share(value: float) -> str:
    """A share as percentage, `97.41 %`."""
    return f"{value * 100:.2f} %"


def number(value: float) -> str:
    """A number with four significant digits."""
    return f"{value:.4g}"


def size(count: int) -> str:
    """A number of bytes as `1.4 MB`, in powers of 1,000."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.3g} {unit}"
    return f"{count} bytes"


def markup(svg: str) -> Any:
    """A drawing as markup that the template does not escape."""
    from markupsafe import Markup

    return Markup(svg)  # noqa: S704 (it holds no text of users)


def escaped_bytes(text: str) -> int:
    """Bytes of `text` in the page."""
    from markupsafe import escape

    return len(escape(text).encode())
