"""Numbers and texts as the page shows them. Pure."""

from __future__ import annotations

from typing import Any

LABEL = 60
"""Characters of a label."""


def short(text: str, most: int = LABEL) -> str:
    """`text` on one line, cut to `most` characters, the last of which says so."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def share(value: float) -> str:
    """`97.41 %`."""
    return f"{value * 100:.2f} %"


def number(value: float) -> str:
    """Four significant digits."""
    return f"{value:.4g}"


def size(count: int) -> str:
    """`1.4 MB`, in powers of 1,000."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.3g} {unit}"
    return f"{count} bytes"


def markup(svg: str) -> Any:
    """A drawing of ours, which the template is not to escape."""
    from markupsafe import Markup

    return Markup(svg)  # noqa: S704 (no text of a user's is in it)


def escaped_bytes(text: str) -> int:
    """How many `text` takes in the page."""
    from markupsafe import escape

    return len(escape(text).encode())
