"""Pieces of Markdown: wrapped paragraphs, lists and tables, in lines of at most WIDTH columns."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence

WIDTH = 120
_BARE = re.compile(r"(?<![`\w])([(']*)([^\s`(']*[<*{_][^\s`]*?)([,.;:)']*)(?=\s|$)")
"""A word with a character that Markdown would treat as markup, without the punctuation around it."""


def code(text: object) -> str:
    """Return `text` as a code span."""
    return f"`{text}`"


def prose(text: str) -> str:
    """Return `text` on one line, with words that Markdown would read as markup in code spans."""
    return _BARE.sub(r"\1`\2`\3", " ".join(text.split()))


def wrapped(text: str, indent: str = "") -> list[str]:
    """Return the lines of a paragraph or, with `indent` "- ", of a list item, with room for one more character each."""
    hanging = " " * len(indent)
    return textwrap.wrap(
        text,
        WIDTH - 1,
        initial_indent=indent,
        subsequent_indent=hanging,
        break_long_words=False,
        break_on_hyphens=False,
    )


def item(*paragraphs: str, verbatim: str = "") -> list[str]:
    """Return the lines of a list item in which each of `paragraphs` begins on a new line.

    `verbatim` is the last line and is not wrapped, because a wrapped code span could not be copied.
    """
    blocks = [wrapped(text, "  " if number else "- ") for number, text in enumerate(paragraphs)]
    blocks += [[f"  {verbatim}"]] if verbatim else []
    ends = [*["\\"] * (len(blocks) - 1), ""]
    return [line for block, end in zip(blocks, ends, strict=True) for line in (*block[:-1], block[-1] + end)]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table with the titles `head`. Raises ValueError if a row is wider than WIDTH."""
    lines = [f"| {' | '.join(cells)} |" for cells in (head, *rows)]
    if widest := next((line for line in lines if len(line) > WIDTH), None):
        raise ValueError(f"{len(widest)} columns; at most {WIDTH} are allowed: {widest}")
    return [lines[0], f"|{'---|' * len(head)}", *lines[1:]]
