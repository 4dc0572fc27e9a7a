"""Names that come from elsewhere (archives, manifests, graphs, listings), as paths that stay below one folder."""

from __future__ import annotations

from pathlib import Path, PurePosixPath


class EscapingName(ValueError):
    """A name, or a link, that leads out of its folder."""


def inside(folder: Path, name: str, confined: Path | None = None, where: object = None) -> Path:
    """`folder`/`name`. Raises EscapingName when it is not below `folder`, or is a link out of `confined` (`folder`).

    `where` is what messages call the place that the name comes from; `folder` unless it is given.
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
    """As `inside`, for a file that is about to be written: the folders above it are made.

    Raises EscapingName also for a name that lies below a file, and OSError where nothing can be made.
    """
    path = inside(folder, name, where=where)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise EscapingName(f"{where}: {name!r} is not allowed; it lies below a file") from None
    return path
