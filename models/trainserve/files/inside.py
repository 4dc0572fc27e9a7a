"""Untrusted names (of archives, manifests, graphs, listings) as paths that are confined to a folder."""

from __future__ import annotations

from pathlib import Path, PurePosixPath


class EscapingName(ValueError):
    """A name, or a link, that leads out of its folder."""


def inside(folder: Path, name: str, confined: Path | None = None, where: object = None) -> Path:
    """Return `folder`/`name`. Raises EscapingName if it is not below `folder`, or is a link out of `confined`.

    `confined` is `folder` by default. `where` names the origin of `name` in messages; by default, that is `folder`.
    """
    where = folder if where is None else where
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\0" in name or "\\" in name:
        raise EscapingName(f"{where}: {name!r} is not allowed; names must lead to files inside of it")
    path = folder.joinpath(*parts)
    limit = (confined or folder).resolve()
    if not path.resolve().is_relative_to(limit):
        raise EscapingName(f"{where}: {name!r} is not allowed; it is a link that leads out of {limit}")
    return path


def place_for(folder: Path, name: str, where: object) -> Path:
    """Return `folder`/`name` like `inside`, for a file to be written: its parent folders are created.

    Raises EscapingName also for a name below a file, and OSError if a folder cannot be created.
    """
    path = inside(folder, name, where=where)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise EscapingName(f"{where}: {name!r} is not allowed; it lies below a file") from None
    return path
