"""What an error says, in few words: its kind and its last words, without the frames of the tracebacks in it."""

from __future__ import annotations

import re
from pathlib import Path

from trainserve.models import shared_memory
from trainserve.models.where import is_theirs

_FRAME = re.compile(r'^\s+File "(?P<file>.+)", line (?P<line>\d+)(, in .*)?$')
_BEGINS = re.compile(r"^\W*(Original )?Traceback \(most recent call last\):$")
_HEAD = 400
"""Of a text that is too long this much of its beginning is kept; the rest is its end, where the cause stands."""
GAP = " ... "


def told(error: BaseException) -> str:
    """`RuntimeError: Caught RuntimeError in DataLoader worker process 0. KeyError: 'x'`, whatever lay between.

    An error that another process met, and its traceback as text within this one's, is what libraries pass on.
    """
    kind, text = type(error).__name__, str(error).strip()
    said = without_frames(f"{kind}: {text}" if text else kind)
    return said + shared_memory.hint(said)


def without_frames(text: str) -> str:
    """Tracebacks within `text` give way to what they end with; a text without one stays as it is."""
    kept: list[str] = []
    inside = False
    for line in text.splitlines():
        if _BEGINS.match(line):
            inside = True
        elif not inside:
            kept.append(line)
        elif line.strip() and not line.startswith(" "):  # the error itself, behind its frames
            inside = False
            kept.append(line)
    return "\n".join(kept)


def place(path: Path, text: str) -> str | None:
    """`net.py, line 12`: the innermost frame of code in the folder of `path` of a traceback within `text`."""
    for line in reversed(text.splitlines()):
        frame = _FRAME.match(line)
        if frame and is_theirs(file := Path(frame["file"]), path):
            return f"{file.relative_to(path.parent)}, line {frame['line']}"
    return None


def shortened(text: str, room: int) -> str:
    """`text`, or its beginning and its end, in at most `room` bytes as ASCII JSON writes them."""
    sizes = [_size(character) for character in text]
    if sum(sizes) <= room:
        return text
    room -= len(GAP)
    head = _fitting(sizes, min(_HEAD, room // 2))
    tail = _fitting(sizes[::-1], room - sum(sizes[:head]))
    return text[:head] + GAP + text[len(text) - tail :]


def _fitting(sizes: list[int], room: int) -> int:
    """How many of the first fit."""
    for count, size in enumerate(sizes):
        room -= size
        if room < 0:
            return count
    return len(sizes)


def _size(character: str) -> int:
    """Bytes of it within a string of JSON: up to 12, of two halves with six each."""
    if character in '"\\\n\r\t\b\f':
        return 2
    if " " <= character <= "~":
        return 1
    return 6 if ord(character) < 0x10000 else 12
