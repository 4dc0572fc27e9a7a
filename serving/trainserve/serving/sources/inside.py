"""Names that come from elsewhere (archives, manifests, graphs, listings), as paths that stay below one folder."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from trainserve.store import StoreError


class EscapingName(StoreError):
    """A name, or a link, that leads out of its folder."""

    reason = "UnservableModel"


def inside(folder: Path, name: str, confined: Path | None = None) -> Path:
    """`folder`/`name`. Raises EscapingName when it is not below `folder`, or is a link out of `confined` (folder)."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\0" in name or "\\" in name:
        raise EscapingName(f"{folder}: {name!r} is not allowed; names must lead to files inside of it")
    path = folder.joinpath(*parts)
    limit = (confined or folder).resolve()
    if not path.resolve().is_relative_to(limit):
        raise EscapingName(f"{folder}: {name!r} is not allowed; it is a link that leads out of {limit}")
    return path
