"""Where in the user's own code something went wrong."""

from __future__ import annotations

import traceback
from pathlib import Path
from types import TracebackType

_OURS = Path(__file__).parent


def where(path: Path, frames: TracebackType | None) -> str | None:
    """`net.py, line 12`: the innermost frame of code in the folder of `path`, None where there is none."""
    for frame, line in reversed(list(traceback.walk_tb(frames))):
        file = Path(frame.f_code.co_filename)
        theirs = not file.is_relative_to(_OURS) and "site-packages" not in file.parts
        if theirs and file.is_relative_to(path.parent):
            return f"{file.relative_to(path.parent)}, line {line}"
    return None
