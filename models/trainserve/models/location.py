"""The place of an error in the user's own code."""

from __future__ import annotations

import traceback
from pathlib import Path
from types import TracebackType

_OURS = Path(__file__).parent


def where(path: Path, frames: TracebackType | None) -> str | None:
    """`net.py, line 12`: the innermost frame in the folder of `path`; None if there is none."""
    for frame, line in reversed(list(traceback.walk_tb(frames))):
        if is_theirs(file := Path(frame.f_code.co_filename), path):
            return f"{file.relative_to(path.parent)}, line {line}"
    return None


def is_theirs(file: Path, path: Path) -> bool:
    """Whether `file` is the user's own code, in the folder of `path`."""
    ours = file.is_relative_to(_OURS) or "site-packages" in file.parts
    return not ours and file.is_relative_to(path.parent)
