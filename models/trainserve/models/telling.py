"""Short texts of errors: type and message, without the stack frames of tracebacks embedded in the message."""

from __future__ import annotations

import re
from pathlib import Path

from trainserve.models import shared_memory
from trainserve.models.location import is_theirs

_FRAME = re.compile(r'^\s+File "(?P<file>.+)", line (?P<line>\d+)(, in .*)?$')
_BEGINS = re.compile(r"^\W*(Original )?Traceback \(most recent call last\):$")


def told(error: BaseException) -> str:
    """Type and message, such as `RuntimeError: Caught RuntimeError in DataLoader worker process 0. KeyError: 'x'`.

    Libraries embed the traceback of an error in another process as text in the message.
    """
    kind, text = type(error).__name__, str(error).strip()
    said = without_frames(f"{kind}: {text}" if text else kind)
    return said + shared_memory.hint(said)


def without_frames(text: str) -> str:
    """`text` with every traceback in it replaced by its last line, the error."""
    kept: list[str] = []
    inside = False
    for line in text.splitlines():
        if _BEGINS.match(line):
            inside = True
        elif not inside:
            kept.append(line)
        elif line.strip() and not line.startswith(" "):  # the error itself, after the frames
            inside = False
            kept.append(line)
    return "\n".join(kept)


def place(path: Path, text: str) -> str | None:
    """`net.py, line 12`: the innermost frame in the folder of `path` of a traceback within `text`; None without one."""
    for line in reversed(text.splitlines()):
        frame = _FRAME.match(line)
        if frame and is_theirs(file := Path(frame["file"]), path):
            return f"{file.relative_to(path.parent)}, line {frame['line']}"
    return None
