"""Writable folders for the user's code and its libraries, whatever user the process runs as.

A training pod runs as a user without a home directory, in a container whose root may be read-only; $TRAINSERVE_WORK is
its working folder there. Folders that are already writable, as on a laptop or in other images, are kept.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import MutableMapping
from pathlib import Path

from trainserve.api.pod import PodPath, Variable

_BELOW_HOME = {
    "XDG_CACHE_HOME": ".cache",
    "TORCH_HOME": ".cache/torch",
    "MPLCONFIGDIR": ".config/matplotlib",
}
"""Variables of libraries' folders, with their defaults below the home directory."""


def settle(environment: MutableMapping[str, str], work: Path | None = None) -> None:
    """Set the variables in `environment` to writable folders, and make one the working directory.

    `work`: the run's own folder ($TRAINSERVE_WORK); without it, whatever is writable is unchanged.
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
    tempfile.tempdir = None  # clears the cached default


def _lacks(environment: MutableMapping[str, str]) -> bool:
    """Whether a library with default settings lacks a writable folder."""
    told = [environment[name] for name in _BELOW_HOME if name in environment]
    places = [environment.get("HOME"), environment.get("TMPDIR", PodPath.TEMPORARY), *told]
    return not all(_is_usable(place) for place in places)


def _made(environment: MutableMapping[str, str]) -> Path:
    """Create a working folder, in $TRAINSERVE_OUTPUT or as a temporary one."""
    if output := environment.get(Variable.OUTPUT):
        folder = Path(output).absolute() / "work"
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    return Path(tempfile.mkdtemp(prefix="trainserve-work-"))


def _is_usable(place: str | None) -> bool:
    """Whether `place` is a writable folder or could be created."""
    if not place:
        return False
    folder = Path(place).absolute()
    while not folder.exists():
        folder = folder.parent
    return _is_writable(folder)


def _is_writable(folder: Path) -> bool:
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def _holds_something(place: str | None) -> bool:
    """Whether `place` is a folder with content, such as an image's weights, which need only be readable."""
    try:
        return place is not None and any(Path(place).iterdir())
    except OSError:
        return False
