"""Writable places for the user's code and the libraries it uses, whoever it runs as.

A pod of ours runs as a user without a home, in a container whose root may be read-only. $TRAINSERVE_WORK is the run's
own folder there, in which it works. What is writable as it is, as on a desk or in another image, stays.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import MutableMapping
from pathlib import Path

_BELOW_HOME = {
    "XDG_CACHE_HOME": ".cache",
    "TORCH_HOME": ".cache/torch",
    "MPLCONFIGDIR": ".config/matplotlib",
}
"""Where libraries write that are not told."""
_TEMPORARY = "/tmp"  # noqa: S108 (where libraries look, whatever is there)


def settle(environment: MutableMapping[str, str], work: Path | None = None) -> None:
    """Point the variables at folders that can be written to, and make one of those the working folder.

    `work` is the run's own, $TRAINSERVE_WORK if there is one; without, nothing is changed that can be written to.
    """
    if work is None and not _lacks(environment) and _is_writable(Path.cwd()):
        return
    if work is None:
        work = _made(environment)
        if not _is_writable(Path.cwd()):
            os.chdir(work)
    else:
        work.mkdir(parents=True, exist_ok=True)
        os.chdir(work)
    if not _is_usable(environment.get("HOME")):
        environment["HOME"] = str(work)
    for name, below in _BELOW_HOME.items():
        place = environment.get(name)
        if not _is_usable(place) and not (name == "TORCH_HOME" and _holds_something(place)):
            place = f"{environment['HOME']}/{below}"
            environment[name] = place if _is_usable(place) else f"{work}/{below}"
            Path(environment[name]).mkdir(parents=True, exist_ok=True)
    if not _is_usable(environment.get("TMPDIR")):
        environment["TMPDIR"] = str(work / "tmp")
    Path(environment["TMPDIR"]).mkdir(parents=True, exist_ok=True)
    tempfile.tempdir = None  # it remembers what it found before


def _lacks(environment: MutableMapping[str, str]) -> bool:
    """Whether a library that is not told anything would find no place."""
    told = [environment[name] for name in _BELOW_HOME if name in environment]
    places = [environment.get("HOME"), environment.get("TMPDIR", _TEMPORARY), *told]
    return not all(_is_usable(place) for place in places)


def _made(environment: MutableMapping[str, str]) -> Path:
    """A folder where none was given: in that of the output, else a temporary one."""
    if output := environment.get("TRAINSERVE_OUTPUT"):
        folder = Path(output).absolute() / "work"
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    return Path(tempfile.mkdtemp(prefix="trainserve-work-"))


def _is_usable(place: str | None) -> bool:
    """Whether it is a folder that can be written to, or could be made."""
    if not place:
        return False
    folder = Path(place).absolute()
    while not folder.exists():
        folder = folder.parent
    return _is_writable(folder)


def _is_writable(folder: Path) -> bool:
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def _holds_something(place: str | None) -> bool:
    """Weights that an image brings need only be read."""
    try:
        return place is not None and any(Path(place).iterdir())
    except OSError:
        return False
