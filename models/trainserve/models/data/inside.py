"""Names that come from elsewhere, as paths below a folder of ours."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from trainserve.models.errors import DataError


def inside(folder: Path, name: str, source: str) -> Path:
    """`folder`/`name`, its folder made. Raises DataError naming `source` for a name that leads out of it."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\0" in name or "\\" in name:
        raise DataError(f"{source}: {name!r} is not allowed; names must lead to files inside of it")
    path = folder.joinpath(*parts)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise DataError(f"{source}: {name!r} is not allowed; it lies below a file") from None
    return path
