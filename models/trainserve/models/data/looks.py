"""Kinds of pictures in a data set, counted: the common mode that follows, and notes on conversions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Literal

from trainserve.files.pictures import Look, Mode

Asked = Literal["rgb", "grey", "auto"]
Looks = Counter[Look]
_MODES: dict[Asked, Mode] = {"rgb": "RGB", "grey": "L"}
_TOLD: list[tuple[Callable[[Look], bool], str]] = [
    (lambda look: look.turned, "stored on their side or mirrored, and turned upright as EXIF says"),
    (lambda look: look.deep == "16-bit", "of 16 bits a channel, scaled to 8"),
    (lambda look: look.deep == "32-bit", "of 32-bit values, taken as 0..255 or 0..65535 and scaled to 8 bits"),
    (lambda look: look.deep == "float", "of floats, taken as 0..1 or 0..255 and scaled to 8 bits"),
    (lambda look: look.alpha, "with transparency, laid on white"),
    (lambda look: look.frames, "of several frames, of which the first is taken"),
]


def mode(looks: Looks, asked: Asked) -> Mode:
    """The mode `asked` for; auto is grey if all pictures are grey, else RGB, which loses nothing."""
    return _MODES.get(asked) or ("L" if all(look.grey for look in looks) else "RGB")


def told(looks: Looks, mode: Mode) -> list[str]:
    """A note for each conversion that some pictures need."""
    total = looks.total()
    grey = sum(count for look, count in looks.items() if look.grey)
    lines = []
    if mode == "RGB" and grey:
        lines.append(f"{_of(grey, total)} grey, converted to RGB (dataset.mode: grey converts all others instead)")
    if mode == "L" and grey < total:
        lines.append(f"{_of(total - grey, total)} in colour, converted to grey")
    for holds, words in _TOLD:
        if count := sum(number for look, number in looks.items() if holds(look)):
            lines.append(f"{_of(count, total)} {words}")
    return lines


def _of(count: int, total: int) -> str:
    return f"{count} of {total} pictures {'is' if count == 1 else 'are'}"
